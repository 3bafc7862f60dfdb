"""Do two answers to the same request agree? Each comparison a pure function of both; no network.

A value is in [0, 1], 1 for the same, whichever of the two comes first. A comparison that does not
apply is left out: if one of them failed, only that can be compared. `docs/shadow.md` explains each.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple

from pipeline.calls import Call, Check, Exchange, ToolCall
from pipeline.protocols.values import as_dict, decode
from pipeline.scoring.language import LanguageRules, language_of

AGREEMENT_VERSION = 1  # of the comparisons here; stored on every row

_STEP = Decimal("0.0001")
_EVIDENCE_CHARACTERS = 200
_TEXT_CHARACTERS = 20_000  # of a text are compared: enough to tell, and few enough to stay cheap
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # written without spaces: each character a unit
_UNIT = re.compile(rf"[{_CJK}]|\d+(?:[.,]\d+)*|(?:(?![{_CJK}])[^\W\d_])+")
_MISSING = object()

_Run = Callable[[LanguageRules, Exchange, Exchange], Check | None]


def compare(
    rules: LanguageRules, call: Call, failed: bool | None, twin: Call, twin_failed: bool | None
) -> dict[str, Check]:
    """Every comparison of a shadow call and its twin that applies; nothing if one was cancelled."""
    if failed is None or twin_failed is None:
        return {}
    if failed or twin_failed:
        return {"same_outcome": _same_outcome(failed, twin_failed)}
    found = ((name, run(rules, call.exchange, twin.exchange)) for name, run in _COMPARISONS.items())
    applying = {name: check for name, check in found if check is not None}
    return {"same_outcome": _same_outcome(failed, twin_failed), **applying}


def _same_outcome(failed: bool, twin_failed: bool) -> Check:
    """Both gave an answer, or neither did."""
    if failed == twin_failed:
        return _check(1, 1)
    return _check(0, 1, f"{'the shadow call' if failed else 'the user call'} alone failed")


def same_tools(rules: LanguageRules, a: Exchange, b: Exchange) -> Check | None:
    """The same tools were called, each as often, whatever the order; or none where some were offered."""
    if not (a.tools or a.tool_calls or b.tool_calls):
        return None
    here, there = _names(a), _names(b)
    if here == there:
        return _check(1, 1)
    shared = (here & there).total()
    evidence = f"shadow: {_listed(here)}; user: {_listed(there)}"
    return _check(2 * shared, here.total() + there.total(), evidence)


def same_arguments(rules: LanguageRules, a: Exchange, b: Exchange) -> Check | None:
    """The share of equal values in the arguments of tools that both called, call by call.

    Key order, 1 against 1.0, white space around text, and a value left out against null or the
    schema's default make no difference.
    """
    schemas = {tool.name: tool.schema or {} for tool in (*b.tools, *a.tools)}
    matched = [
        (name, _arguments_alike(one, other, schemas.get(name, {})))
        for name in dict.fromkeys(call.name for call in a.tool_calls)
        for one, other in zip(_calls(a, name), _calls(b, name), strict=False)
    ]
    if not matched:
        return None
    value = sum((alike.share for _, alike in matched), Decimal(0)) / len(matched)
    differ = (f"{name}: {alike.where}" for name, alike in matched if alike.where)
    return Check(value.quantize(_STEP), "; ".join(differ)[:_EVIDENCE_CHARACTERS])


def same_structured_output(rules: LanguageRules, a: Exchange, b: Exchange) -> Check | None:
    """The share of equal values in the JSON that was asked for, compared like arguments."""
    if not a.json_wanted or a.tool_calls or b.tool_calls or not (a.text or b.text):
        return None
    here, there = _parsed(a.text), _parsed(b.text)
    if here is _MISSING and there is _MISSING:
        return None
    if here is _MISSING or there is _MISSING:
        which = "shadow" if here is _MISSING else "user"
        return _check(0, 1, f"the {which} call's answer alone is not JSON")
    found = _alike_or_too_deep(here, there, a.json_schema or {})
    return _check(found.equal, found.all, found.where)


def same_length(rules: LanguageRules, a: Exchange, b: Exchange) -> Check | None:
    """The shorter text's length over the longer's, in words and Chinese characters."""
    if not _is_prose(a, b):
        return None
    here, there = len(_units(a.text)), len(_units(b.text))
    if here == there:
        return _check(1, 1)
    evidence = f"shadow: {here} words or characters; user: {there}"
    return _check(min(here, there), max(here, there), evidence)


def same_language(rules: LanguageRules, a: Exchange, b: Exchange) -> Check | None:
    """Both texts are in the same language, where it can be told of both."""
    if not _is_prose(a, b):
        return None
    here, there = language_of(rules, a.text), language_of(rules, b.text)
    if not here or not there:
        return None
    same = here == there
    return _check(int(same), 1, "" if same else f"shadow: {here}; user: {there}")


def similar_text(rules: LanguageRules, a: Exchange, b: Exchange) -> Check | None:
    """How much of their wording two texts share: Dice's coefficient (2·shared / all) of single units and pairs.

    A unit is a word, a number or a Chinese or Japanese character, so that it needs no word list.
    """
    if not _is_prose(a, b):
        return None
    here, there = _units(a.text), _units(b.text)
    if here == there:
        return _check(1, 1) if here or a.text.strip() == b.text.strip() else _check(0, 1)
    one, other = _grams(here), _grams(there)
    return _check(2 * (one & other).total(), one.total() + other.total())


_COMPARISONS: dict[str, _Run] = {
    "same_tools": same_tools,
    "same_arguments": same_arguments,
    "same_structured_output": same_structured_output,
    "same_length": same_length,
    "same_language": same_language,
    "similar_text": similar_text,
}


class _Alike(NamedTuple):
    """How many single values of two JSON values are equal, of how many; where the first is not."""

    equal: int
    all: int
    where: str = ""

    @property
    def share(self) -> Decimal:
        return Decimal(self.equal) / self.all


def _arguments_alike(a: ToolCall, b: ToolCall, schema: dict[str, Any]) -> _Alike:
    here, there = _parsed(a.arguments or "{}"), _parsed(b.arguments or "{}")
    if here is _MISSING or there is _MISSING:
        same = a.arguments == b.arguments
        return _Alike(int(same), 1, "" if same else "not JSON")
    return _alike_or_too_deep(here, there, schema)


def _alike_or_too_deep(a: Any, b: Any, schema: dict[str, Any]) -> _Alike:
    try:
        return _alike(a, b, schema, "")
    except RecursionError:
        return _Alike(0, 1, "nested too deeply to compare")


def _alike(a: Any, b: Any, schema: dict[str, Any], where: str) -> _Alike:
    """Compares two JSON values leaf by leaf; `schema` tells defaults, `where` is the path so far."""
    if isinstance(a, dict) and isinstance(b, dict):
        properties = as_dict(schema.get("properties"))
        inside = [
            _alike(a.get(key, _MISSING), b.get(key, _MISSING), as_dict(properties.get(key)), f"{where}/{key}")
            for key in sorted({*a, *b})
        ]  # fmt: skip
        return _together(inside)
    if isinstance(a, list) and isinstance(b, list):
        items = as_dict(schema.get("items"))
        numbered = enumerate(zip_longest(a, b, fillvalue=_MISSING))
        return _together([_alike(x, y, items, f"{where}/{n}") for n, (x, y) in numbered])
    a, b = _or_default(a, schema), _or_default(b, schema)
    if isinstance(a, dict | list) and isinstance(b, dict | list) and type(a) is type(b):
        return _alike(a, b, schema, where)
    if isinstance(a, dict | list) or isinstance(b, dict | list):
        return _Alike(0, max(_leaves(a), _leaves(b)), where or "/")
    return _Alike(1, 1) if _same_leaf(a, b) else _Alike(0, 1, where or "/")


def _together(parts: list[_Alike]) -> _Alike:
    """Nothing on both sides is one value that is equal."""
    if not parts:
        return _Alike(1, 1)
    where = next((part.where for part in parts if part.where), "")
    return _Alike(sum(part.equal for part in parts), sum(part.all for part in parts), where)


def _or_default(value: Any, schema: dict[str, Any]) -> Any:
    return schema.get("default") if value is _MISSING or value is None else value


def _same_leaf(a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return unicodedata.normalize("NFC", a).strip() == unicodedata.normalize("NFC", b).strip()
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _leaves(value: Any) -> int:
    if isinstance(value, dict | list) and value:
        return sum(map(_leaves, value.values() if isinstance(value, dict) else value))
    return 1


def _parsed(text: str) -> Any:
    """The JSON value of a text, with or without a Markdown fence around it; _MISSING if it is none."""
    bare = text.strip()
    if bare.startswith("```"):
        bare = bare.partition("\n")[2].rpartition("```")[0]
    try:
        return decode(bare)
    except ValueError:
        return _MISSING


def _is_prose(a: Exchange, b: Exchange) -> bool:
    return bool(a.text and b.text) and not a.json_wanted


def _units(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text[:_TEXT_CHARACTERS]).casefold()
    return _UNIT.findall(plain)


def _grams(units: list[str]) -> Counter[tuple[str, ...]]:
    return Counter[tuple[str, ...]](_singles(units)) + Counter[tuple[str, ...]](pairwise(units))


def _singles(units: list[str]) -> Iterator[tuple[str, ...]]:
    return ((unit,) for unit in units)


def _names(exchange: Exchange) -> Counter[str]:
    return Counter(call.name for call in exchange.tool_calls)


def _listed(names: Counter[str]) -> str:
    return ", ".join(sorted(names.elements())) or "none"


def _calls(exchange: Exchange, name: str) -> list[ToolCall]:
    return [call for call in exchange.tool_calls if call.name == name]


def _check(part: int, whole: int, evidence: str = "") -> Check:
    return Check((Decimal(part) / whole).quantize(_STEP), evidence[:_EVIDENCE_CHARACTERS])
