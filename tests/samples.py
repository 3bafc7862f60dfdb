"""Gateways' records: authored ones under data/gateways, and the shared ones, read where they are."""

from pathlib import Path
from typing import Any

import pytest
import yaml

CASES: list[dict[str, Any]] = [
    {"format": file.stem, **case}
    for file in sorted((Path(__file__).parent / "data" / "gateways").glob("*.yml"))
    for case in yaml.safe_load(file.open(encoding="utf-8"))
]
_ABOVE = (folder / "shared" / "samples" for folder in Path(__file__).parents)
SAMPLES = next((folder for folder in _ABOVE if folder.is_dir()), None)
needs_samples = pytest.mark.skipif(SAMPLES is None, reason="../shared/samples is not here")

# Folder of the shared samples → the format its records are in.
FOLDERS = {
    "apisix/kafka_logger_entries.jsonl": "apisix",
    "claude-code-router": "claude_code_router",
    "envoy-ai-gateway/access_log.jsonl": "envoy_ai_gateway",
    "higress": "higress",
    "kong": "kong",
    "langfuse": "langfuse",
    "litellm-captured/v1": "litellm",
    "litellm-fixtures/mock": "litellm",
    "litellm-fixtures/spend": "litellm",
    "openllmetry-live": "otlp",
    "envoy-ai-gateway/openinference": "otlp",
    "otel-captured/genai-instrumentation-1.3b0_replayed.traces.otlp_json": "otlp",
    "otel-captured/litellm-1.106.2-otel-request-span_replayed.traces.otlp_json": "otlp",
    "otel-captured/litellm-1.106.2-otel-semconv_replayed.traces.otlp_json": "otlp",
    "otel-captured/openllmetry-0.62.4_replayed.traces.otlp_json": "otlp",
    "provider-wire": "raw",
}


def shared_files() -> list[tuple[Path, str]]:
    """Each shared file that is a log, with its format."""
    if SAMPLES is None:
        return []
    found = [
        (file, format)
        for start, format in FOLDERS.items()
        for file in sorted(SAMPLES.rglob("*.json*"))
        if file.relative_to(SAMPLES).as_posix().startswith(start) and ".index." not in file.name
    ]
    assert {format for _, format in found} == set(FOLDERS.values())
    return found
