"""Takes secrets out of text before it is stored, logged or shown. E-mail addresses stay.

Known shapes of keys (all vendors of the catalog and a few neighbours), and whatever follows words
like `Bearer` or `api_key=`. Ark's keys are UUIDs, as are request ids: those go only after such words.
"""

import re

MASK = "[redacted]"

_SHAPES = (
    r"sk-[A-Za-z0-9_*\-]{8,}",  # Anthropic, OpenAI, Moonshot, DeepSeek, Bailian, Hunyuan
    r"[0-9a-f]{32}\.[A-Za-z0-9]{8,}",  # Zhipu
    r"bce-v3/[A-Za-z0-9\-]+/[A-Za-z0-9\-]+",  # Baidu Qianfan
    r"ALTAK-?[A-Za-z0-9]{8,}",  # Baidu Cloud access key
    r"AK(?:ID|LT|IA)[A-Za-z0-9_\-]{12,}",  # Tencent Cloud, Volcano Engine, AWS
    r"LTAI[A-Za-z0-9]{8,}",  # Alibaba Cloud
    r"eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?",  # JSON web token
    r"AIza[A-Za-z0-9_\-]{20,}",  # Google
    r"(?:ghp|gho|ghs|github_pat|glpat|hf|xox[abpr])[_\-][A-Za-z0-9_\-]{16,}",
)
_QUOTE = r"(?:\\?[\"'])?"  # also as it looks inside a JSON string
_SIGN = rf"{_QUOTE}\s*[:=]\s*{_QUOTE}"
_WORDS = (
    rf"authorization{_SIGN}(?:(?:basic|bearer)\s+)?",
    r"bearer\s+",
    rf"(?:x[_\-])?(?:api|access|secret|auth|private)[_\- ]?(?:key|token|secret)(?:[_\- ]?id)?(?:\ provided)?{_SIGN}",
    rf"(?:password|passwd|secret|token|appid){_SIGN}",
)
_PATTERN = (
    rf"(?<![A-Za-z0-9])(?:(?P<words>(?i:{'|'.join(_WORDS)}))[A-Za-z0-9_\-.~+/=*]{{6,}}"
    rf"|{'|'.join(_SHAPES)})"
)
_TEXT = re.compile(_PATTERN)
_BYTES = re.compile(_PATTERN.encode())


def redact(text: str) -> str:
    """The text with every secret replaced by `[redacted]`; the words before it stay."""
    return _TEXT.sub(lambda match: (match["words"] or "") + MASK, text)


def redact_bytes(value: bytes) -> bytes:
    """The same for bytes, which may be anything."""
    return _BYTES.sub(lambda match: (match["words"] or b"") + MASK.encode(), value)
