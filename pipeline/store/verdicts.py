"""What the judge reads and writes: arrivals in, units, epochs, verdicts and evidence out."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypedDict, Unpack

import msgspec

from pipeline.calls import Arm
from pipeline.store.connect import Client, rows
from pipeline.store.insert import column_types, once
from pipeline.verdicts.bloom import Hashes
from pipeline.verdicts.conversations import Arrival, C, Came, PairArrival, U
from pipeline.verdicts.state import State
from pipeline.verdicts.units import Pair, Unit

Partition = tuple[str, str, int]  # cluster, topic, number
Place = tuple[int, str]

_ARRIVAL = (
    "cluster", "topic", "kafka_partition", "kafka_offset", "received_at", "call_id", "request_id",
    "attempt", "conversation_id", "workload", "app", "team", "tags", "arm", "stage", "share", "provider",
    "request_model", "model", "started_at", "time_to_first_token_ms", "duration_ms", "fault", "cost", "currency", "quality",
    "checks", "doubts",
)  # fmt: skip
_PAIR_ARRIVAL = (
    "cluster", "topic", "kafka_partition", "kafka_offset", "received_at", "call_id", "shadow_of",
    "conversation_id", "workload", "app", "team", "tags", "mirrored_to", "provider", "request_model",
    "model", "started_at", "duration_ms", "failed", "twin_failed", "quality", "twin_quality", "agreement", "doubts",
)  # fmt: skip
_UNIT = (
    "workload", "provider", "model", "arm", "conversation_id", "assigned_at", "closed_at", "failed", "failed_at", "score",
    "cost", "currency", "ttft_ms", "duration_ms", "share", "checks", "shares",
)  # fmt: skip
_PAIR = (
    "workload", "provider", "model", "conversation_id", "assigned_at", "closed_at", "pairs", "failed_baseline",
    "failed_candidate", "score_baseline", "score_candidate", "disagreement", "noise",
)  # fmt: skip
_TIMES = {"received_at", "started_at", "assigned_at", "closed_at", "failed_at"}


class Source(msgspec.Struct, Generic[C, U], frozen=True, kw_only=True):
    """One kind of evidence: the table in which its calls come, and those of what was closed, judged or late.

    `conversation`: SQL of a call's conversation, as `Came.conversation` has it.
    """

    came: str
    came_columns: tuple[str, ...]
    call: Callable[[dict[str, Any]], C]
    conversation: str
    kept: str
    kept_columns: tuple[str, ...]
    unit: Callable[[dict[str, Any]], U]
    judged: str
    late: str


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """A beginning of evidence; only conversations assigned from `starts_at` (UTC ms) on belong to it."""

    workload: str
    candidate: str
    epoch: int
    epoch_hash: str
    plan_hash: str
    starts_at: int
    set_by: str
    after_data: bool
    gates: str


class End(msgspec.Struct, frozen=True):
    """Where a partition ended when a worker last looked, UTC ms."""

    end_offset: int
    observed_at: int


class Batch(NamedTuple):
    """A batch of units: its number, 0 before the first one, and who wrote it."""

    number: int
    writer: str


class Progress(msgspec.Struct, frozen=True):
    """How far things are: what the judge asks again and again.

    `stored`: partition → the first offset the ledger does not cover. `ends`: where a topic's partitions end, as
    workers saw it. `batches`: table of units → the newest batch known, if it is there, and all after it.
    """

    stored: dict[Partition, int]
    ends: dict[Partition, End]
    batches: dict[str, list[Batch]]


def _columns(names: Iterable[str]) -> str:
    return ", ".join(
        f"toUnixTimestamp64Milli(t.{n}) AS {n}" if n in _TIMES else f"t.{n} AS {n}" for n in names
    )


def read_progress(client: Client, cluster: str, topic: str, newest: Mapping[str, int]) -> Progress:
    """The progress of a cluster's topic; `newest`: table of units → the last batch known, 0 for none.

    The ledger tells of calls only once they are stored: what is read after this has all up to `stored`.
    """
    sql = _PROGRESS + "".join(
        f" UNION ALL SELECT DISTINCT '{kept}', '', '', 0, batch, 0, writer FROM {kept} WHERE batch >= {max(number, 1):d}"
        for kept, number in newest.items()
    )
    found = Progress({}, {}, {kept: [] for kept in newest})
    answer = client.query(
        sql, parameters={"cluster": cluster, "topic": topic}, settings={"max_threads": 1}
    )
    for what, its_cluster, its_topic, partition, number, at, writer in answer.result_rows:
        place = (its_cluster, its_topic, partition)
        if what == "stored":
            found.stored[place] = number
        elif what == "end":
            found.ends[place] = End(number, at)
        else:
            found.batches[what].append(Batch(number, writer))
    return found


_PROGRESS = """
    SELECT
        'stored' AS what, cluster, topic, kafka_partition, max(offset_to) + 1 AS number, 0::Int64 AS at, '' AS writer
    FROM ledger GROUP BY cluster, topic, kafka_partition
    UNION ALL
    SELECT 'end', cluster, topic, kafka_partition, end_offset, toUnixTimestamp64Milli(observed_at), ''
    FROM partitions FINAL WHERE cluster = {cluster:String} AND topic = {topic:String}"""


class Arrived(NamedTuple, Generic[C]):
    """Calls, and of each the hash of its conversation by which the store knows judged ones."""

    calls: list[C]
    hashes: list[int]


def read_arrivals(
    client: Client, source: Source[C, U], ranges: Mapping[Partition, tuple[int, int]]
) -> Arrived[C]:
    """The calls of these offsets, the end not included, in order within each partition."""
    arrived: Arrived[C] = Arrived([], [])
    for cluster, topic in sorted({(place[0], place[1]) for place in ranges}):
        wanted = " OR ".join(
            f"(t.kafka_partition = {place[2]:d} AND t.kafka_offset >= {start:d} AND t.kafka_offset < {end:d})"
            for place, (start, end) in ranges.items()
            if place[:2] == (cluster, topic)
        )
        sql = (
            f"SELECT {_columns(source.came_columns)}, cityHash64(toString(t.workload), {source.conversation}) AS hash"
            f" FROM {source.came} AS t"
            f" WHERE t.cluster = {{cluster:String}} AND t.topic = {{topic:String}} AND ({wanted})"
            " ORDER BY t.kafka_partition, t.kafka_offset, t.position"
        )
        for row in rows(client, sql, {"cluster": cluster, "topic": topic}):
            arrived.hashes.append(row.pop("hash"))
            arrived.calls.append(source.call(row))
    return arrived


def first_arrivals(
    client: Client, source: Source[C, U], read: Mapping[Partition, int]
) -> dict[Partition, int]:
    """Partition → the offset of the first call at or after that one; nothing where there is none."""
    found: dict[Partition, int] = {}
    for place, offset in read.items():
        where = {"cluster": place[0], "topic": place[1], "partition": place[2], "offset": offset}
        first = client.query(
            f"SELECT kafka_offset FROM {source.came}"
            " WHERE cluster = {cluster:String} AND topic = {topic:String}"
            " AND kafka_partition = {partition:UInt32} AND kafka_offset >= {offset:UInt64}"
            " ORDER BY cluster, topic, kafka_partition, kafka_offset LIMIT 1",
            parameters=where,
        ).result_rows
        if first:
            found[place] = first[0][0]
    return found


def _arrival(row: dict[str, Any]) -> Arrival:
    return Arrival(**row | {"arm": Arm(row["arm"]), "doubts": tuple(row["doubts"])})


def _pair_arrival(row: dict[str, Any]) -> PairArrival:
    to, doubts = Arm(row["mirrored_to"]), tuple(row["doubts"])
    return PairArrival(**row | {"mirrored_to": to, "doubts": doubts})


def _unit(row: dict[str, Any]) -> Unit:
    return Unit(**row | {"arm": Arm(row["arm"])})


USERS = Source(
    came="arrivals", came_columns=_ARRIVAL, call=_arrival,
    conversation="coalesce(nullIf(t.conversation_id, ''), nullIf(t.request_id, ''), t.call_id)",
    kept="units", kept_columns=_UNIT, unit=_unit, judged="judged", late="late_calls",
)  # fmt: skip
PAIRS = Source(
    came="pair_arrivals", came_columns=_PAIR_ARRIVAL, call=_pair_arrival,
    conversation="coalesce(nullIf(t.conversation_id, ''), t.shadow_of)",
    kept="paired_units", kept_columns=_PAIR, unit=lambda row: Pair(**row), judged="judged_pairs",
    late="late_pairs",
)  # fmt: skip


def last_arrivals(
    client: Client, source: Source[C, U], ranges: Mapping[Partition, int]
) -> dict[Partition, int]:
    """Partition → when the last call below that offset came, UTC ms."""
    found: dict[Partition, int] = {}
    for place, offset in ranges.items():
        where = {"cluster": place[0], "topic": place[1], "partition": place[2], "offset": offset}
        last = client.query(
            f"SELECT toUnixTimestamp64Milli(received_at) FROM {source.came}"
            " WHERE cluster = {cluster:String} AND topic = {topic:String}"
            " AND kafka_partition = {partition:UInt32} AND kafka_offset < {offset:UInt64}"
            " ORDER BY cluster DESC, topic DESC, kafka_partition DESC, kafka_offset DESC LIMIT 1",
            parameters=where,
        ).result_rows
        if last:
            found[place] = last[0][0]
    return found


def judged_hashes(client: Client, source: Source[C, U], expected: int) -> Iterator[Hashes]:
    """The hashes of all judged conversations, `expected` of them, some at a time."""
    parts = expected // HASHES_AT_ONCE + 1
    edges = [part * 2**64 // parts for part in range(parts)]
    for first, after in zip(edges, [*edges[1:], 2**64], strict=True):
        sql = f"SELECT conversation FROM {source.judged} WHERE conversation BETWEEN {first:d} AND {after - 1:d}"
        with client.query_np_stream(sql) as blocks:
            for block in blocks:
                yield block.ravel()


def judged_count(client: Client, source: Source[C, U]) -> int:
    """How many conversations have been judged."""
    ((count,),) = client.query(f"SELECT count() FROM {source.judged}").result_rows
    return int(count)


def already_judged(
    client: Client, source: Source[C, U], conversations: Iterable[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Which of these (workload, conversation) are units already."""
    sql = _JUDGED.format(judged=source.judged)
    asked = sorted(set(conversations))
    found: set[tuple[str, str]] = set()
    for begin in range(0, len(asked), ASKED_AT_ONCE):
        part = asked[begin : begin + ASKED_AT_ONCE]
        # Bound by the client: as parameters of the URL so many would be too long.
        bound = {"workloads": [w for w, _ in part], "ids": [c for _, c in part]}
        answer = client.query(sql, parameters=bound).result_rows
        found |= {(workload, conversation) for workload, conversation in answer}
    return found


ASKED_AT_ONCE = 200
HASHES_AT_ONCE = 2_000_000
_JUDGED = """
    SELECT pair.1, pair.2
    FROM (SELECT arrayJoin(arrayZip(%(workloads)s, %(ids)s)) AS pair)
    WHERE cityHash64(pair.1, pair.2) IN
    (
        SELECT conversation FROM {judged} WHERE conversation IN
            (SELECT cityHash64(asked.1, asked.2) FROM (SELECT arrayJoin(arrayZip(%(workloads)s, %(ids)s)) AS asked))
    )"""


def insert_late_calls(client: Client, source: Source[C, U], calls: Sequence[Came]) -> None:
    """Notes calls that came after their conversation was judged; once each."""
    if calls:
        columns = ["workload", "provider", "call_id", "started_at"]
        values = [[c.workload, c.provider, c.call_id, c.started_at] for c in calls]
        client.insert(source.late, values, column_names=columns)


def late_counts(
    client: Client, source: Source[C, U]
) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """(workload, provider) → late calls; and → conversations that came after their turn."""
    calls = client.query(
        f"SELECT workload, provider, uniqExact(call_id) FROM {source.late} GROUP BY workload, provider"
    ).result_rows
    units = client.query(
        f"SELECT workload, provider, count() FROM {source.kept} WHERE late GROUP BY workload, provider"
    ).result_rows
    return {(r[0], r[1]): r[2] for r in calls}, {(r[0], r[1]): r[2] for r in units}


def last_batch(client: Client, source: Source[C, U]) -> Batch:
    """The last batch of units."""
    found = client.query(f"SELECT max(batch), argMax(writer, batch) FROM {source.kept}").result_rows
    return Batch(*found[0])


def insert_units(
    client: Client,
    source: Source[C, U],
    batch: Batch,
    units: Sequence[U],
    late: Sequence[U],
    positions: Mapping[Partition, tuple[int, int]],
) -> None:
    """Stores a batch of closed conversations, unless another judge has stored one of that number: see `read_progress`.

    With it goes, of every partition, (from which open conversations must be read again, read to).
    """
    names = ("batch", "writer", *source.kept_columns, "late", "positions")
    document = [[*place, again, read] for place, (again, read) in sorted(positions.items())]
    values = [
        [*batch, *(getattr(unit, name) for name in source.kept_columns), is_late, ""]
        for part, is_late in ((units, False), (late, True))
        for unit in part
    ]
    values[0][-1] = msgspec.json.encode(document).decode()
    types = column_types(client, source.kept, names)
    token = once(f"{source.kept}/{batch.number}")
    client.insert(source.kept, values, column_names=names, column_types=types, settings=token)


class Within(TypedDict, total=False):
    """Which units: of some providers, after a place, assigned from a time on (UTC ms), at most so many (0: all)."""

    providers: Sequence[str]
    after: Place
    since: int
    limit: int


def read_units(client: Client, workload: str, **within: Unpack[Within]) -> list[Unit]:
    """Closed conversations in order of assignment, late ones left out."""
    return _read_kept(client, USERS, workload, **within)


def read_pairs(client: Client, workload: str, **within: Unpack[Within]) -> list[Pair]:
    """Conversations' shadow pairs in order of assignment, late ones left out."""
    return _read_kept(client, PAIRS, workload, **within)


def _read_kept(
    client: Client,
    source: Source[C, U],
    workload: str,
    *,
    providers: Sequence[str] = (),
    after: Place = (-1, ""),
    since: int = 0,
    limit: int = 0,
) -> list[U]:
    asked: dict[str, Any] = {
        "workload": workload, "providers": list(providers), "since": since,
        "after": after[0], "after_id": after[1], "limit": limit,
    }  # fmt: skip
    sql = (
        f"SELECT {_columns(source.kept_columns)} FROM {source.kept} AS t WHERE t.workload = {{workload:String}} AND NOT t.late"
        " AND t.assigned_at >= fromUnixTimestamp64Milli({since:Int64}) AND t.assigned_at >= fromUnixTimestamp64Milli({after:Int64})"
    )
    if after[0] >= 0:
        sql += " AND (t.assigned_at > fromUnixTimestamp64Milli({after:Int64}) OR t.conversation_id > {after_id:String})"
    if providers:
        sql += " AND t.provider IN {providers:Array(String)}"
    sql += " ORDER BY t.workload, t.assigned_at, t.conversation_id"
    if limit:
        sql += " LIMIT {limit:UInt64}"
    return [source.unit(row) for row in rows(client, sql, asked)]


def read_failures(
    client: Client, workload: str, providers: Sequence[str], *, since: int, after: Place | None
) -> list[Unit]:
    """Units of some providers whose failure was told, in that order, from a place on; late ones left out."""
    sql = (
        f"SELECT {_columns(_UNIT)} FROM units AS t WHERE t.workload = {{workload:String}} AND NOT t.late"
        " AND t.provider IN {providers:Array(String)} AND t.assigned_at >= fromUnixTimestamp64Milli({since:Int64})"
        " AND t.failed_at >= fromUnixTimestamp64Milli({after:Int64}) ORDER BY t.failed_at, t.conversation_id"
    )
    asked = {
        "workload": workload, "providers": list(providers), "since": since,
        "after": after[0] if after else 0,
    }  # fmt: skip
    return [_unit(row) for row in rows(client, sql, asked)]


def last_places(client: Client, source: Source[C, U]) -> dict[str, Place]:
    """Workload → the last unit handed out."""
    found = client.query(
        f"SELECT workload, max((toUnixTimestamp64Milli(assigned_at), conversation_id)) FROM {source.kept}"
        " WHERE NOT late GROUP BY workload"
    ).result_rows
    return {row[0]: (row[1][0], row[1][1]) for row in found}


def read_positions(
    client: Client, source: Source[C, U], batch: Batch
) -> dict[Partition, tuple[int, int]]:
    """The positions that belong to a batch; earlier versions wrote them apart."""
    asked = {"batch": batch.number, "writer": batch.writer, "kept": source.kept}
    found = client.query(
        "SELECT positions FROM"
        f" (SELECT positions, 1 AS own, now64(3) AS at FROM {source.kept} WHERE batch = {{batch:UInt64}} AND positions != ''"
        " UNION ALL SELECT positions, 0, at FROM judge_positions"
        " WHERE batch = {batch:UInt64} AND kept = {kept:String} AND writer = {writer:String})"
        " ORDER BY own DESC, at DESC LIMIT 1",
        parameters=asked,
    ).result_rows
    document = msgspec.json.decode(found[0][0]) if found else []
    return {(c, t, p): (again, read) for c, t, p, again, read in document}


def state_row(epoch: Epoch, formulas: int, state: State) -> dict[str, Any]:
    """A row of `judge_states`: the fold's memory."""
    return {
        "workload": epoch.workload,
        "candidate": epoch.candidate,
        "epoch": epoch.epoch,
        "formulas": formulas,
        "state": msgspec.json.encode(state).decode(),
    }


def read_state(client: Client, epoch: Epoch, formulas: int) -> State | None:
    """The fold's memory as last kept under these formulas."""
    found = client.query(
        "SELECT state FROM judge_states FINAL WHERE workload = {workload:String} AND"
        " candidate = {candidate:String} AND epoch = {epoch:UInt32} AND formulas = {formulas:UInt32}",
        parameters={
            "workload": epoch.workload, "candidate": epoch.candidate, "epoch": epoch.epoch,
            "formulas": formulas,
        },
    ).result_rows  # fmt: skip
    return msgspec.json.decode(found[0][0], type=State) if found else None


def insert_epoch(client: Client, epoch: Epoch) -> None:
    """Records a beginning of evidence."""
    values = msgspec.structs.asdict(epoch)
    client.insert("epochs", [list(values.values())], column_names=list(values))


def read_epochs(client: Client) -> dict[tuple[str, str], Epoch]:
    """(workload, candidate) → the epoch in force."""
    found = rows(
        client,
        "SELECT workload, candidate, epoch, epoch_hash, plan_hash,"
        " toUnixTimestamp64Milli(starts_at) AS starts_at_ms, set_by, after_data, gates FROM epochs FINAL"
        " ORDER BY workload, candidate, epoch",
    )
    return {
        (row["workload"], row["candidate"]): Epoch(starts_at=row.pop("starts_at_ms"), **row)
        for row in found
    }


def any_data(client: Client, workload: str, provider: str, models: Collection[str]) -> bool:
    """True if calls of that workload to that provider, and to one of these models if any is given, have come before."""
    return bool(
        client.query(
            "SELECT 1 FROM arrivals WHERE workload = {workload:String} AND provider = {provider:String}"
            " AND (empty({models:Array(String)}) OR model = ''"
            " OR request_model IN {models:Array(String)} OR model IN {models:Array(String)})"
            " LIMIT 1",
            parameters={"workload": workload, "provider": provider, "models": sorted(models)},
        ).result_rows
    )


def insert_rows(client: Client, table: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Rows of `verdicts` or `evidence`, all with the same columns."""
    if found:
        names, values = tuple(found[0]), [list(row.values()) for row in found]
        types = column_types(client, table, names)
        client.insert(table, values, column_names=names, column_types=types)


def shown_verdicts(client: Client) -> dict[tuple[str, str], dict[str, Any]]:
    """(workload, candidate) → epoch, verdict, since (UTC ms) and drift as last said."""
    found = rows(
        client,
        "SELECT workload, candidate, epoch, verdict, toUnixTimestamp64Milli(since) AS since_ms, drift FROM v_verdicts",
    )
    return {(row["workload"], row["candidate"]): row for row in found}


def plan_in_force(client: Client, workload: str, candidate: str) -> str | None:
    """The plan, a JSON document, under which the verdict in force was made."""
    found = client.query(
        "SELECT document FROM plans WHERE plan_hash IN (SELECT plan_hash FROM v_verdicts"
        " WHERE workload = {workload:String} AND candidate = {candidate:String}) LIMIT 1",
        parameters={"workload": workload, "candidate": candidate},
    ).result_rows
    return str(found[0][0]) if found else None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What tells whether the account of a cluster balances."""

    gaps: int  # offsets missing in the ledger, or there twice
    in_flight: int  # messages
    sent: int  # calls, by the producers' own count
    accounted: int  # calls of theirs stored, rejected, repeated or ignored
    audit: str  # what the last recount found wrong

    def wrong(self, sent: int) -> str:
        """What is wrong, given how many calls had been sent a while ago; "" if nothing is."""
        if self.gaps:
            return f"{self.gaps} offsets are missing in the ledger, or there twice"
        if self.audit:
            return self.audit
        missing = sent - self.accounted - self.in_flight * _CALLS_A_MESSAGE
        return f"at least {missing} calls sent are nowhere to be found" if missing > 0 else ""


def read_account(client: Client, cluster: str) -> Account:
    """The account of a cluster as it stands."""
    (row,) = client.query(_ACCOUNT, parameters={"cluster": cluster}).result_rows
    gaps, in_flight, sent, accounted, audit = row
    return Account(
        gaps=gaps or 0, in_flight=in_flight or 0, sent=sent or 0, accounted=accounted or 0, audit=audit or ""
    )  # fmt: skip


_CALLS_A_MESSAGE = 500  # at most, as our producers write them
_ACCOUNT = """
    SELECT
        gaps, in_flight,
        (SELECT sum(sent) FROM producers FINAL WHERE cluster = {cluster:String}),
        (SELECT sum(stored + rejected + duplicates + ignored) - sum(uncounted) FROM ledger WHERE cluster = {cluster:String}),
        (SELECT argMax(if(ok, '', first_discrepancy), at) FROM audits)
    FROM
    (
        SELECT sum(v.gaps) AS gaps, sum(v.in_flight) AS in_flight FROM v_partitions AS v
        WHERE v.cluster = {cluster:String}
    )"""


def spent(client: Client) -> dict[tuple[str, str], float]:
    """(provider, currency) → all that was ever spent there by list price, in USD and in CNY."""
    found = client.query(
        "SELECT provider, toFloat64(sum(cost_usd)), toFloat64(sum(cost_cny)) FROM v_costs GROUP BY provider"
    ).result_rows
    usd = {(row[0], "USD"): row[1] or 0.0 for row in found}
    return usd | {(row[0], "CNY"): row[2] or 0.0 for row in found}
