"""Records of our own format, made for tests."""

import json
from typing import Any

from pipeline.formats.cutover import VERSION, Record, encode
from pipeline.intake import Message

STARTED = 1_795_000_000_000  # 2026-11-18


def anthropic_record(call_id: str, **changes: Any) -> Record:
    """A good answer of Claude's, 100 tokens in and 20 out, in 1.2 s."""
    request = {
        "model": "claude-sonnet-4-5-20250929",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "Where is my parcel?"}],
    }
    response = {
        "id": f"msg_{call_id}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "It arrives tomorrow."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 100, "output_tokens": 20},
    }
    fields: dict[str, Any] = {
        "cutover": VERSION,
        "call_id": call_id,
        "conversation_id": f"conversation of {call_id}",
        "workload": "support",
        "provider": "anthropic",
        "host": "api.anthropic.com",
        "path": "/v1/messages",
        "started_at": STARTED,
        "ended_at": STARTED + 1200,
        "http_status": 200,
        "request": json.dumps(request),
        "response": json.dumps(response),
    }
    return Record(**{**fields, **changes})


def message(offset: int, *lines: bytes | str, received_at: int = STARTED + 2000) -> Message:
    """A Kafka message of records, or of any other bytes; a string is a call id."""
    encoded = (encode(anthropic_record(x)) if isinstance(x, str) else x for x in lines)
    return Message(offset, received_at, b"\n".join(encoded))
