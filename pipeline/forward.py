"""Records of any format, handed to a producer: each keyed by its conversation, none left out."""

from collections.abc import Sequence
from hashlib import blake2b

from pipeline.calls import Call
from pipeline.formats import FORMATS, Format, read_message, recognise
from pipeline.kafka import CallProducer
from pipeline.reading import on_one_line
from pipeline.scoring.conversation import conversation_of


def forward(producer: CallProducer, value: bytes, format: str = "") -> int:
    """Gives a producer every record of a message and returns how many these are.

    `format` names it; else it is recognised. What cannot be read goes too: the worker rejects it
    alone, with its reason. A message that is not made of lines goes whole.
    """
    name = format or name_of(value)
    records = _records(FORMATS.get(name), value)
    if records is None:
        count = len(read_message(value, name))
        producer.put_message(value, blake2b(value, digest_size=16).hexdigest(), name, count)
        return count
    for record in records:
        call = read_message(record, name)[0]
        key = conversation_of(call) or call.call_id if isinstance(call, Call) else ""
        producer.put_line(record, key, name)
    return len(records)


def name_of(value: bytes) -> str:
    """The name of the format that takes these bytes for its own, "" if none does."""
    found = recognise(value)
    return next((name for name, known in FORMATS.items() if known is found), "")


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
