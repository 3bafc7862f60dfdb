"""Takes secrets out of text before it is stored, logged or shown. E-mail addresses stay.

Known shapes of keys (all vendors of the catalog and a few neighbours), and whatever follows words
like `Bearer` or `api_key=`. Ark's keys are UUIDs, as are request ids: those go only after such words.
"""

import re
from collections.abc import Iterator

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
_BYTES = re.compile(_PATTERN.encode())

# Every secret has one of these signs near its beginning. Looking for them first, with plain searches,
# makes long bodies cheap: they mostly hold none.
_SIGNS = (
    b"sk-", b"bce-v3/", b"ALTAK", b"AKID", b"AKLT", b"AKIA", b"LTAI", b"eyJ", b"AIza",
    b"ghp", b"gho", b"ghs", b"github_pat", b"glpat", b"hf_", b"hf-", b"xox",
)  # fmt: skip
_SIGN_WORDS = (b"authorization", b"bearer", b"key", b"token", b"secret", b"passw", b"appid")
_WORD_ENDS = re.compile(
    rf"(?:bearer\s|(?:authorization|key|token|secret|password|passwd|appid)"
    rf"(?:[_\- ]?id)?(?:\ provided)?{_SIGN})".encode()
)  # what a word must go on with; most do not
_HEX_AND_DOT = bytes(
    ord("h") if chr(c) in "0123456789abcdef" else ord(".") if chr(c) == "." else ord(" ")
    for c in range(256)
)
_HEX_KEY = b"h" * 32 + b"."  # Zhipu's keys have no other sign
_BEFORE, _AFTER = 48, 192  # how far a secret may reach to either side of its sign, runs not counted
_RUN = re.compile(rb"[A-Za-z0-9_\-.~+/=*]*")


def redact(text: str) -> str:
    """The text with every secret replaced by `[redacted]`; the words before it stay."""
    value = text.encode("utf-8", "surrogatepass")
    clean = redact_bytes(value)
    return text if clean is value else clean.decode("utf-8", "surrogatepass")


def redact_bytes(value: bytes) -> bytes:
    """The same for bytes, which may be anything."""
    pieces: list[bytes] = []
    done = 0
    for begin, end in _places(value):
        for match in _BYTES.finditer(value, begin, end):
            pieces += value[done : match.start()], match["words"] or b"", MASK.encode()
            done = match.end()
    return b"".join([*pieces, value[done:]]) if pieces else value


def _places(value: bytes) -> list[tuple[int, int]]:
    """Begin and end of each part in which there may be a secret, in order and apart."""
    places: list[tuple[int, int]] = []
    for at in sorted(_signs(value)):
        begin, end = max(0, at - _BEFORE), at + _AFTER
        if places and end <= places[-1][1]:
            continue
        if places and begin <= places[-1][1]:
            begin = places.pop()[0]
        places.append((begin, _run_end(value, end)))
    return places


def _signs(value: bytes) -> Iterator[int]:
    for sign in _SIGNS:
        if sign in value:
            yield from _all(value, sign)
    lower = value.lower()
    for word in _SIGN_WORDS:
        if word in lower:
            yield from (at for at in _all(lower, word) if _WORD_ENDS.match(lower, at))
    if len(value) > len(_HEX_KEY):
        yield from _all(value.translate(_HEX_AND_DOT), _HEX_KEY)


def _all(value: bytes, part: bytes) -> Iterator[int]:
    at = value.find(part)
    while at >= 0:
        yield at
        at = value.find(part, at + 1)


def _run_end(value: bytes, at: int) -> int:
    run = _RUN.match(value, at)
    return run.end() if run else at
