"""Our own record: what the tap, the demo and our callbacks write. One JSON object a line.

It carries both bodies of the exchange as text, so that everything else is found out by the
scorer, and can be found out again, better, when old records are replayed.
"""

from typing import Annotated

import msgspec

from pipeline.calls import Arm, Call, Exchange, Grade, Protocol
from pipeline.protocols import protocol_of, read_exchange

VERSION = 1
MARK = b'{"cutover":'  # every line starts with this: how the format is recognised


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call as it passed by. Fields a reader does not know are ignored: newer writers may add some.

    `request` and `response` are the bodies as text (a stream as the raw SSE text, cut where it
    was cut). Headers are never part of a record: they hold keys. Times are UTC milliseconds.
    """

    cutover: int
    call_id: Annotated[str, msgspec.Meta(min_length=1)]
    request_id: str = ""
    attempt: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1
    final: bool | None = None
    conversation_id: str = ""
    workload: str = ""
    app: str = ""
    team: str = ""
    tags: dict[str, str] = {}
    arm: Arm = Arm.NONE
    stage: str = ""
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    shadow_of: str = ""
    mirrored_to: Arm = Arm.NONE
    twin: "Record | None" = None  # of a shadow call: the user's call, as recorded
    grade: Grade | None = None
    provider: str = ""
    host: str = ""
    path: str = ""
    protocol: Protocol | None = None
    started_at: int | None = None
    first_token_at: int | None = None
    ended_at: int | None = None
    http_status: Annotated[int, msgspec.Meta(ge=100, le=999)] | None = None
    transport_error: str = ""
    cancelled: bool = False
    request: str = ""
    response: str = ""


_decoder = msgspec.json.Decoder(Record)
_encoder = msgspec.json.Encoder()


def encode(record: Record) -> bytes:
    """One line, without its line feed."""
    return _encoder.encode(record)


def detect(value: bytes) -> bool:
    """True if these bytes are records of this format."""
    return value.startswith(MARK)


def split(value: bytes) -> list[bytes]:
    """The records of one message, one a line."""
    return [line for line in value.split(b"\n") if line.strip()]


def read(line: bytes) -> Call:
    """The call of one line. Raises msgspec.DecodeError or ValidationError, which name the field."""
    return _call(_decoder.decode(line))


def _call(r: Record) -> Call:
    protocol = r.protocol or protocol_of(r.path)
    return Call(
        call_id=r.call_id,
        source="cutover",
        request_id=r.request_id,
        attempt=r.attempt,
        final=r.final,
        conversation_id=r.conversation_id,
        workload=r.workload,
        app=r.app,
        team=r.team,
        tags=r.tags,
        arm=r.arm,
        stage=r.stage,
        share=r.share,
        shadow_of=r.shadow_of,
        mirrored_to=r.mirrored_to,
        twin=_call(r.twin) if r.twin else None,
        grade=r.grade,
        provider=r.provider,
        host=r.host,
        path=r.path,
        protocol=protocol,
        started_at=r.started_at,
        first_token_at=r.first_token_at,
        ended_at=r.ended_at,
        http_status=r.http_status,
        transport_error=r.transport_error,
        cancelled=r.cancelled,
        exchange=read_exchange(protocol, r.request, r.response, r.http_status, r.conversation_id)
        if protocol
        else Exchange(),
    )
