"""What the module of a protocol has to offer, so that one reading serves all three."""

from typing import Any, NamedTuple, Protocol

from pipeline.calls import Usage
from pipeline.protocols.sse import Stream


class Folded(NamedTuple):
    """A response put together from events, in the shape it would have had as one JSON body.

    `ended` says that the stream came to its end; `error` is the event that told of an error, or {}.
    """

    response: dict[str, Any]
    ended: bool
    error: dict[str, Any]
    findings: list[str]


class Reader(Protocol):
    """The module of one protocol.

    `TOOL_FINISH` is the finish reason that goes with tool calls, `PLAIN_FINISH` the one that goes
    without; both "" where the protocol does not tell these apart.
    """

    FINISH_REASONS: frozenset[str]
    TOOL_FINISH: str
    PLAIN_FINISH: str

    def fold(self, stream: Stream, /) -> Folded: ...
    def answer(self, response: dict[str, Any], /) -> dict[str, Any]: ...
    def usage(self, response: dict[str, Any], findings: list[str], /) -> Usage: ...
    def error_shape_is_ours(self, body: dict[str, Any], /) -> bool: ...
