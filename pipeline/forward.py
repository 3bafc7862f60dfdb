"""Records of any format, handed to a producer: each keyed by its conversation, none left out."""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from pipeline.calls import Call
from pipeline.formats import FORMATS, Format, read_message, recognise
from pipeline.kafka import CallProducer
from pipeline.reading import on_one_line
from pipeline.scoring.conversation import conversation_of


class Parcel(msgspec.Struct, frozen=True):
    """What a producer takes at once: a record on a line, or a whole message of so many records."""

    value: bytes
    key: str
    format: str
    whole: bool = False
    records: int = 1


def forward(producer: CallProducer, value: bytes, format: str = "") -> int:
    """Gives a producer every record of a message and returns how many these are."""
    return hand_over(producer, parcels(value, format))


def parcels(value: bytes, format: str = "") -> list[Parcel]:
    """The records of a message. `format` names it; else it is recognised.

    What cannot be read goes too: the worker rejects it alone, with its reason. A message that is
    not made of lines goes whole.
    """
    name = format or name_of(value)
    records = _records(FORMATS.get(name), value)
    if records is None:
        key = blake2b(value, digest_size=16).hexdigest()
        return [Parcel(value, key, name, whole=True, records=len(read_message(value, name)))]
    return [Parcel(record, _key(record, name), name) for record in records]


def hand_over(producer: CallProducer, given: Sequence[Parcel]) -> int:
    """Gives a producer these records and returns how many they are."""
    for each in given:
        if each.whole:
            producer.put_message(each.value, each.key, each.format, each.records)
        else:
            producer.put_line(each.value, each.key, each.format)
    return sum(each.records for each in given)


def name_of(value: bytes) -> str:
    """The name of the format that takes these bytes for its own, "" if none does."""
    found = recognise(value)
    return next((name for name, known in FORMATS.items() if known is found), "")


def _key(record: bytes, name: str) -> str:
    call = read_message(record, name)[0]
    return conversation_of(call) or call.call_id if isinstance(call, Call) else ""


def _records(format: Format | None, value: bytes) -> Sequence[bytes] | None:
    """The records on a line each; None if they cannot be told apart again once they are joined."""
    if format is None:
        return None
    try:
        records = [on_one_line(record) for record in format.split(value)]
        alone = all(list(format.split(record)) == [record] for record in records)
    except (ValueError, RecursionError):
        return None
    return records if records and alone else None
