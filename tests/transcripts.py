"""The transcripts under data/transcripts: requests and responses in each vendor's documented shape."""

import json
import os
from pathlib import Path
from typing import Any

import yaml

from pipeline.calls import Exchange, Protocol
from pipeline.protocols import read_exchange

FOLDER = Path(__file__).parent / "data" / "transcripts"
SHARED = Path(__file__).parents[1] / ".." / "shared" / "samples" / "provider-wire"
KEYS = {"name", "protocol", "request", "response", "status", "sdk", "expect"}


def load() -> list[dict[str, Any]]:
    """Every case; one with a key nobody reads is a mistake."""
    cases = [case for file in sorted(FOLDER.glob("*.yml")) for case in yaml.safe_load(file.open())]
    assert all(set(case) <= KEYS for case in cases)
    return cases


def name_of(case: dict[str, Any]) -> str:
    return case["name"]


def is_stream(case: dict[str, Any]) -> bool:
    return not case["response"].lstrip().startswith(("{", "<"))


def body(case: dict[str, Any]) -> bytes:
    return case["response"].encode()


def read(case: dict[str, Any], response: bytes | None = None) -> Exchange:
    """The case as our reader sees it, with its own response or another one."""
    return read_exchange(
        Protocol(case["protocol"]),
        json.dumps(case["request"]),
        body(case) if response is None else response,
        case.get("status", 200),
    )


def recordings() -> list[dict[str, Any]]:
    """Real exchanges with OpenAI and Anthropic, shaped like the cases; none where they are absent."""
    file = Path(os.path.normpath(SHARED)) / "recordings.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [_as_case(number, json.loads(line)) for number, line in enumerate(lines, 1)]


def _as_case(number: int, recording: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"recording {number}",
        "protocol": recording["protocol"],
        "request": recording["request_body"],
        "response": recording["response_body_text"],
        "status": recording["http_status"],
    }
