"""Token counts: which ones can be believed, and what to guess where a stream broke off without any."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from pipeline.calls import Usage

LARGEST_COUNT = 2**63 - 1

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_PROMPT_FIELDS = ("system", "instructions", "messages", "input", "tools")
_NOT_TEXT = frozenset({"source", "image_url", "input_audio", "file", "signature", "data"})


def count(value: object, findings: list[str]) -> int | None:
    """A token count as the vendor sent it; None, and a finding, where it cannot be one."""
    if value is None:
        return None
    if type(value) is int and 0 <= value <= LARGEST_COUNT:
        return value
    findings.append("bad_token_count")
    return None


def part(value: object, total: int | None, findings: list[str]) -> int | None:
    """A count that is part of `total`; None, and a finding, where it is larger."""
    counted = count(value, findings)
    if counted is None or total is None or counted <= total:
        return counted
    findings.append("bad_token_count")
    return None


def told(usage: Usage) -> Usage | None:
    """`usage`, or None where both totals are zero or missing: no request has no tokens."""
    return usage if usage.input_tokens or usage.output_tokens else None


def estimate(text: str) -> int:
    """About how many tokens `text` is: 0.6 for a Chinese, Japanese or Korean character, 1/4 for others.

    The first figure is DeepSeek's (api-docs.deepseek.com/quick_start/token_usage), the second the
    rule of thumb OpenAI gives for English. Rounded up.
    """
    cjk = 0 if text.isascii() else len(_CJK.findall(text))
    return -(-(12 * cjk + 5 * (len(text) - cjk)) // 20)


def estimated(usage: Usage | None, request: dict[str, Any] | None, answer: str) -> Usage:
    """`usage` with the totals that never came guessed from the request and the text of the answer."""
    usage = usage or Usage()
    prompt = [request.get(field) for field in _PROMPT_FIELDS] if request else []
    asked = estimate("".join(_texts(prompt))) or None
    return msgspec.structs.replace(
        usage,
        input_tokens=usage.input_tokens or asked,
        output_tokens=estimate(answer) if usage.output_tokens is None else usage.output_tokens,
        estimated=True,
    )


def _texts(value: object) -> Iterator[str]:
    """All text of a request that becomes tokens; not pictures, sounds and signatures."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _NOT_TEXT:
                yield from _texts(item)
