"""Which conversation a call belongs to, where its record does not say.

In this order: the gateway's own session id; an id in the request's body; a hash of what every turn
of a conversation repeats, the heads of the system prompt and of the first user message, with
whoever sent it (application, team, the tag `user`) and the UTC day. Two people who open with the
same words are told apart only by the former; a conversation over midnight becomes two. Without
bodies and ids it stays unknown.
"""

from hashlib import blake2b

from pipeline.calls import Call

_DAY_MS = 24 * 60 * 60 * 1000


def conversation_of(call: Call) -> str:
    """The conversation's id; "" if nothing tells it."""
    return call.conversation_id or call.exchange.conversation or _by_opening(call)


def _by_opening(call: Call) -> str:
    """A hash, so that no prompt's text is stored; the same on every machine."""
    if not call.exchange.opening:
        return ""
    day = "" if call.started_at is None else str(call.started_at // _DAY_MS)
    parts = (call.app, call.team, call.tags.get("user", ""), day, call.exchange.opening)
    seed = "".join(f"{len(part)}:{part}" for part in parts)
    return f"opening-{blake2b(seed.encode(errors='replace'), digest_size=16).hexdigest()}"
