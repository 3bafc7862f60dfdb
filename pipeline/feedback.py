"""What users say of an answer: messages of the feedback topic, one JSON object each.

    {"event_id": "…", "call_id": "…", "rating": 0.75, "comment": "…", "source": "…", "at": 1795000000000}

`rating` is from 0 (bad) to 1 (good), `at` is in UTC ms. `event_id` names the message: the same one
again changes nothing but replaces what it said before. Comment, source and time may be left out.
"""

from decimal import Decimal
from typing import Annotated

import msgspec

from pipeline.calls import Rejected
from pipeline.scoring.redact import redact, redact_bytes
from pipeline.scoring.score import believed_start

LONGEST_COMMENT = 1000  # characters; what goes beyond is cut
_STEP = Decimal("0.0001")

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Feedback(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rating of one call."""

    event_id: _Id
    call_id: _Id
    rating: Annotated[float, msgspec.Meta(ge=0, le=1)]
    comment: str = ""
    source: Annotated[str, msgspec.Meta(max_length=200)] = ""
    at: int | None = None


class Rated(msgspec.Struct, frozen=True, kw_only=True):
    """A rating without secrets: one row of the `feedback` table."""

    event_id: str
    call_id: str
    at: int
    rating: Decimal
    comment: str
    source: str


_decoder = msgspec.json.Decoder(Feedback)


def read_feedback(value: bytes | None, received_at: int) -> Rated | Rejected:
    """The rating in a message; `received_at` (UTC ms) replaces a time that is missing or not believed."""
    try:
        given = _decoder.decode(value or b"")
    except msgspec.ValidationError as error:
        return Rejected("malformed_feedback", redact(str(error)), redact_bytes(value or b""))
    except (ValueError, RecursionError) as error:
        return Rejected("not_json", redact(str(error)), redact_bytes(value or b""))
    return Rated(
        event_id=redact(given.event_id),
        call_id=redact(given.call_id),
        at=believed_start(given.at, received_at)[0],
        rating=Decimal(given.rating).quantize(_STEP),
        comment=redact(given.comment)[:LONGEST_COMMENT],
        source=redact(given.source),
    )


def rating_of(text: str) -> float:
    """A rating as people give it: "up", "down", or a number from 0 to 1. Raises ValueError."""
    named = {"up": 1.0, "down": 0.0}.get(text.lower())
    rating = float(text) if named is None else named
    if not 0 <= rating <= 1:
        raise ValueError(text)
    return rating
