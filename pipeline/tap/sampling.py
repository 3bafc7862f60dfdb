"""Which calls are mirrored, to whom, and if not, why: from the call and the plan, without any I/O.

Conversations are drawn as a whole, by a hash that is independent of the one that routes them and the
same on every machine. Nothing here looks at how good the user's answer was: pairs that were
chosen by the outcome of one side would flatter the other.
"""

from fnmatch import fnmatchcase
from typing import Any

import msgspec

from pipeline.calls import Arm, Protocol
from pipeline.formats.cutover import Record
from pipeline.protocols.values import as_text, decode, dicts
from pipeline.tap.routing import Asked, BaseUrls, Body, Choice, Route, draw, position, route
from pipeline.verdicts.plan import Plan, Shadow

LARGEST = (
    1024 * 1024
)  # of request and of answer, in characters: both go into the record, some twice
_TO_BE_RETRIED = (408, 429)  # refusals that are the provider's doing, not the caller's

# Tools that the client runs: it never sees the shadow answer, so nothing happens. Any other type is
# run by the vendor while it answers, or may be.
_RUN_BY_CLIENT = (
    "", "function", "custom", "bash_*", "text_editor_*", "computer_*", "memory_*", "local_shell",
    "shell", "apply_patch",
)  # fmt: skip
_VENDOR_TOOL_FIELDS = {
    "mcp_servers": "mcp",  # Anthropic
    "web_search_options": "web_search",  # Chat Completions
    "enable_search": "web_search",  # Bailian
}
_STATE_FIELDS = ("previous_response_id", "conversation", "background", "container")


class Mirrored(msgspec.Struct, frozen=True):
    """One way a call is sent again: to a candidate, or to the baseline once more."""

    to: Arm
    route: Route


def is_drawn(workload: str, conversation: str, share: float) -> bool:
    """True for that share of conversations. One drawn at a share is drawn at every larger one."""
    return position(f"shadow of {workload}", conversation) < share


def why_not(
    record: Record, asked: Asked, answered_by: Route, body: Body | None, shadow: Shadow
) -> str:
    """The first reason not to mirror a call, "" if there is none."""
    status = record.http_status or 0
    found = {
        "answered_by_candidate": answered_by.arm is not Arm.BASELINE,
        "not_sampled": not is_drawn(asked.workload, asked.conversation_id, shadow.share),
        "retry": asked.attempt > 1,
        "cancelled": record.cancelled,
        "caller_error": 400 <= status < 500 and status not in _TO_BE_RETRIED,
        "too_large": max(len(record.request), len(record.response)) > LARGEST,
    }
    first = next((reason for reason, holds in found.items() if holds), "")
    return first or not_replayable(body or {}, asked.protocol, shadow.tools)


def not_replayable(body: Body, protocol: Protocol, allowed: tuple[str, ...]) -> str:
    """Why asking twice would do something twice, "" if it does not."""
    if not all(_is_allowed(kind, allowed) for kind in _tool_types(body)):
        return "side_effecting_tools"
    stored_unless_told = protocol is Protocol.OPENAI_RESPONSES
    stores = _field(body, "store", stored_unless_told)
    return "stored_state" if stores or any(_field(body, name) for name in _STATE_FIELDS) else ""


def ways(
    asked: Asked, answered_by: Route, plan: Plan, base_urls: BaseUrls, at_ms: int
) -> tuple[Mirrored, ...]:
    """Where a drawn call goes: to one candidate, the same for the whole conversation, and maybe the baseline.

    Nowhere if no candidate is left or the one drawn cannot take it.
    """
    workload = plan.workloads[asked.workload]
    candidates = workload.candidates_at(at_ms)
    if not candidates or workload.shadow is None:
        return ()
    at = position(f"candidate for {asked.workload}", asked.conversation_id)
    drawn = draw(dict.fromkeys(candidates, 1 / len(candidates)), at)
    names = {drawn: Arm.CANDIDATE}
    if is_drawn(asked.workload, asked.conversation_id, workload.shadow.baseline_share):
        names[plan.baseline] = Arm.BASELINE
    found = []
    for name, to in names.items():
        choice = Choice(name, answered_by.stage, answered_by.share)
        way = route(asked, choice, plan, base_urls)
        if way.kept:
            return ()
        found.append(Mirrored(to, msgspec.structs.replace(way, arm=Arm.SHADOW)))
    return tuple(found)


def _tool_types(body: Body) -> set[str]:
    listed = {as_text(tool.get("type")) for tool in dicts(_field(body, "tools"))}
    return listed | {kind for name, kind in _VENDOR_TOOL_FIELDS.items() if _field(body, name)}


def _is_allowed(kind: str, allowed: tuple[str, ...]) -> bool:
    return any(fnmatchcase(kind, pattern) for pattern in (*_RUN_BY_CLIENT, *allowed))


def _field(body: Body, name: str, default: Any = None) -> Any:
    """A field's value; the default where it is missing, null or nested too deeply."""
    try:
        value = decode(bytes(body[name])) if name in body else None
    except ValueError:
        return default
    return default if value is None else value
