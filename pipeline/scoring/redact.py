"""Takes secrets out of text before it is stored, logged or shown. E-mail addresses stay.

Known shapes of keys (all vendors of the catalog and a few neighbours), and whatever follows words
like `Bearer` or `api_key=`. Ark's keys are UUIDs, as are request ids: those go only after such words.
"""

import re
from collections.abc import Iterator

from pipeline.scoring.words import AnyWord

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
_SECRET = re.compile(_PATTERN, re.ASCII)

# Every secret has one of these signs near its beginning. Looking for them first makes long bodies
# cheap: they mostly hold none.
_SIGNS = (
    "sk-", "bce-v3/", "ALTAK", "AKID", "AKLT", "AKIA", "LTAI", "eyJ", "AIza",
    "ghp_", "ghp-", "gho_", "gho-", "ghs_", "ghs-", "github_pat", "glpat", "hf_", "hf-", "xox",
)  # fmt: skip
_SIGN_WORDS = ("authorization", "bearer", "key", "token", "secret", "passw", "appid")
_WORD = re.compile(  # with what it must go on with; most do not
    rf"(?:bearer\s|(?:authorization|key|token|secret|password|passwd|appid)"
    rf"(?:[_\- ]?id)?(?:\ provided)?{_SIGN})",
    re.ASCII,
)
_ANY_SIGN = AnyWord((*map(str.lower, _SIGNS), *_SIGN_WORDS))
_HEX_KEY = re.compile(r"\.(?<=[0-9a-f]{32}\.)")  # Zhipu's keys have no other sign
_BEFORE, _AFTER = 48, 192  # how far a secret may reach to either side of its sign, runs not counted
_RUN = re.compile(r"[A-Za-z0-9_\-.~+/=*]*")


def redact(text: str) -> str:
    """The text with every secret replaced by `[redacted]`; the words before it stay."""
    if not _may_hold_one(text):
        return text
    pieces: list[str] = []
    done = 0
    for begin, end in _places(text):
        for match in _SECRET.finditer(text, begin, end):
            pieces += text[done : match.start()], match["words"] or "", MASK
            done = match.end()
    return "".join([*pieces, text[done:]]) if pieces else text


def _may_hold_one(text: str) -> bool:
    """False for nearly all texts: they hold no sign of a secret at all."""
    return _ANY_SIGN.is_in(text.lower()) or ("." in text and _HEX_KEY.search(text) is not None)


def redact_bytes(value: bytes) -> bytes:
    """The same for bytes, which may be anything."""
    text = value.decode("latin-1")  # a character for each byte, whatever they mean
    clean = redact(text)
    return value if clean is text else clean.encode("latin-1")


def _places(text: str) -> list[tuple[int, int]]:
    """Begin and end of each part in which there may be a secret, in order and apart."""
    places: list[tuple[int, int]] = []
    for at in sorted(_signs(text)):
        begin, end = max(0, at - _BEFORE), at + _AFTER
        if places and end <= places[-1][1]:
            continue
        if places and begin <= places[-1][1]:
            begin = places.pop()[0]
        places.append((begin, _run_end(text, end)))
    return places


def _signs(text: str) -> list[int]:
    found: list[int] = []
    for sign in _SIGNS:
        if sign in text:
            found += _all(text, sign)
    lower = _lower(text)
    # All words but `bearer` go on with a colon or an equals sign.
    for word in _SIGN_WORDS if ":" in text or "=" in text else ("bearer",):
        if word in lower:
            found += [at for at in _all(lower, word) if _WORD.match(lower, at)]
    if "." in text:
        found += [match.start() for match in _HEX_KEY.finditer(text)]
    return found


def _lower(text: str) -> str:
    """In small letters, every character at its place: one capital becomes two small characters."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text.replace("\u0130", "I").lower()


def _all(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _run_end(text: str, at: int) -> int:
    run = _RUN.match(text, at)
    return run.end() if run else at
