"""The account of a running service: produced = stored + rejected + duplicates + ignored + in flight.

A producer that never learnt whether Kafka took a batch sends it again, and then Kafka may have it
twice: `produced` counts such calls twice too, `resent` says how many these are. Calls a producer
dropped stand in `produced` alone, so that an account with lost calls does not balance.

Each term is counted by itself: produced by the producers, the next four in the store, in flight by
asking the producers what waits and by reading what Kafka holds beyond the ledger.
"""

import msgspec

from pipeline.kafka import calls_beyond, end_offsets
from pipeline.settings import Settings
from pipeline.store.connect import Client


class Account(msgspec.Struct, frozen=True):
    """Numbers of calls."""

    produced: int
    stored: int
    rejected: int
    duplicates: int
    in_flight: int
    resent: int = 0
    ignored: int = 0  # records that tell of no call

    @property
    def balanced(self) -> bool:
        read = self.stored + self.rejected + self.duplicates + self.ignored
        return self.produced == read + self.in_flight


async def take_account(
    settings: Settings, client: Client, cluster: str, produced: int, waiting: int, resent: int = 0
) -> Account:
    """The account of one Kafka cluster, given what its producers made and what they still hold.

    What senders who do not count have put into Kafka is taken as produced when it is read. `resent` is how many calls they sent again at most.
    """
    here = {"cluster": cluster, "topic": settings.calls_topic}
    ((stored,),) = client.query(_STORED, parameters=here).result_rows
    ((rejected,),) = client.query(_REJECTED, parameters=here).result_rows
    ((duplicates, ignored, uncounted),) = client.query(_LEDGER, parameters=here).result_rows
    produced += uncounted
    beyond = await calls_beyond(settings, next_offsets(settings, client, cluster))
    twice = stored + rejected + duplicates + ignored + waiting + beyond - produced
    twice = twice if 0 < twice <= resent else 0
    return Account(
        produced=produced + twice,
        stored=stored,
        rejected=rejected,
        duplicates=duplicates,
        in_flight=waiting + beyond,
        resent=twice,
        ignored=ignored,
    )


async def messages_behind(settings: Settings, client: Client, cluster: str) -> int:
    """How many messages of the calls topic the ledger does not cover yet."""
    covered = next_offsets(settings, client, cluster)
    ends = await end_offsets(settings)
    return sum(max(0, end - covered.get(partition, 0)) for partition, end in ends.items())


def next_offsets(settings: Settings, client: Client, cluster: str) -> dict[int, int]:
    """Partition → the first offset the ledger does not cover."""
    here = {"cluster": cluster, "topic": settings.calls_topic}
    return {row[0]: row[1] for row in client.query(_NEXT_OFFSETS, parameters=here).result_rows}


_HERE = "cluster = {cluster:String} AND topic = {topic:String}"
_NEXT_OFFSETS = f"""
    SELECT kafka_partition, max(offset_to) + 1 FROM ledger WHERE {_HERE} GROUP BY kafka_partition"""
_STORED = f"SELECT count() FROM calls WHERE {_HERE}"
_REJECTED = f"SELECT count() FROM rejected WHERE {_HERE}"
_LEDGER = f"SELECT sum(duplicates), sum(ignored), sum(uncounted) FROM ledger WHERE {_HERE}"
