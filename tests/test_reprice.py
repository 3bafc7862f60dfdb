"""A corrected price reaches the stored calls as a new cost version, and old versions keep their numbers."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from changed_facts import changed_facts
from records import STARTED, anthropic_record

from pipeline import cli
from pipeline.catalog import Catalog, load_catalog
from pipeline.formats.cutover import Record, encode
from pipeline.intake import Intake, Message
from pipeline.reprice import Difference, Preview, fingerprint, render, reprice
from pipeline.rules import load_checks
from pipeline.scoring.score import Rules
from pipeline.store import versions
from pipeline.store.connect import Client, StoreError
from pipeline.store.migrate import SQL
from pipeline.store.versions import Scope, VersionTakenError

D = Decimal
M = D(1_000_000)
ALL = Scope(since=date(2020, 1, 1), until=date(2030, 1, 1))
SONNET, HAIKU = "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"

# Facts as they might have been when the calls came: Sonnet too dear, GLM-4.6 without its price in
# China and at another one abroad, glm-4.7 not known at all.
FORMER = (
    ("providers/anthropic.yml", f"id: {SONNET}\n    prices:\n      - region: international\n        currency: USD\n        tiers:\n          - {{max_input_tokens: 200000, input: 3,", f"id: {SONNET}\n    prices:\n      - region: international\n        currency: USD\n        tiers:\n          - {{max_input_tokens: 200000, input: 5,"),
    ("providers/zhipu.yml", "id: glm-4.7\n", "id: glm-4.70\n"),
    ("providers/zhipu.yml", "per_million: {input: 0.6, output: 2.2, cache_read: 0.11}\n        effective_from: 2025-09-30", "per_million: {input: 0.7, output: 2.2}\n        effective_from: 2025-09-30"),
    ("providers/zhipu.yml", "- {max_input_tokens: 32000, max_output_tokens: 200, input: 2, output: 8, cache_read: 0.4}\n          - {max_input_tokens: 32000, input: 3, output: 14, cache_read: 0.6}\n          - {max_input_tokens: 200000, input: 4, output: 16, cache_read: 0.8}\n        source: lobe-zhipu\n        verified: true\n\n  - id: glm-4.7", "- {input: 1, output: 1}\n        effective_to: 2026-01-01\n        verified: true\n\n  - id: glm-4.7"),
)  # fmt: skip


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return load_catalog(changed_facts(tmp_path_factory.mktemp("former") / "facts", *FORMER))


def answer(model: str, usage: dict[str, int] | None = None) -> str:
    """A response of that model, 100 tokens in and 20 out unless told otherwise."""
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": "Tomorrow."}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 100, "output_tokens": 20} if usage is None else usage,
    }  # fmt: skip
    return msgspec.json.encode(message).decode()


def zhipu(call_id: str, model: str, host: str = "api.z.ai", **changes: Any) -> Record:
    path = "/api/anthropic/v1/messages"
    fields = {"provider": "zhipu", "host": host, "path": path, "response": answer(model)}
    return anthropic_record(call_id, **{**fields, **changes})


CHAT = '{"id":"1","object":"chat.completion","model":"glm-4.6","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}}'
CALLS = [
    anthropic_record("sonnet"),
    anthropic_record("haiku", response=answer(HAIKU)),
    anthropic_record("shadow", arm="shadow"),
    anthropic_record("later", started_at=STARTED + 86_400_000, ended_at=None),
    zhipu("abroad", "glm-4.6"),
    zhipu("in china", "glm-4.6", "open.bigmodel.cn"),
    zhipu("somewhere", "glm-4.6", "127.0.0.1"),
    zhipu("not known before", "glm-4.7"),
    zhipu("never known", "glm-99", request='{"model":"glm-99","messages":[]}'),
    zhipu("under a plan", "glm-4.6", "open.bigmodel.cn", path="/api/coding/paas/v4/chat/completions", response=CHAT),
    zhipu("without usage", "glm-4.6", request='{"model":"glm-4.6","messages":[]}', response="", http_status=500),
    anthropic_record("cached", response=answer(SONNET, {"input_tokens": 7, "output_tokens": 11, "cache_read_input_tokens": 13, "cache_creation_input_tokens": 17})),
]  # fmt: skip


def store_calls(store: Client, catalog: Catalog, records: list[Record], offset: int = 0) -> None:
    worker = Intake(client=store, batch_calls=1000, remembered_ids=100, cluster="c1", worker="w")
    value = b"\n".join(encode(record) for record in records)
    message = Message(offset, STARTED + 2 * 86_400_000, value)
    rules = Rules(catalog=catalog, checks=load_checks())
    worker.store("llm.calls", 0, [message], rules, lambda: True)


@pytest.fixture
def filled(store: Client, former: Catalog) -> Client:
    """A store with the calls as they were scored by the former facts."""
    store_calls(store, former, CALLS)
    return store


COST = "cost, currency, price_id, cost_estimated, cost_unknown"


def costs(store: Client) -> dict[str, tuple[Any, ...]]:
    """Call id → newest cost, as the pages see it."""
    found = store.query(f"SELECT call_id, {COST} FROM v_calls").result_rows
    return {row[0]: tuple(row[1:]) for row in found}


def sums(store: Client, source: str = "v_costs") -> dict[str, tuple[Decimal, int]]:
    """Currency → cost and calls, as in the sums per minute."""
    sql = f"SELECT currency, sum(cost), sum(calls) FROM {source} GROUP BY currency HAVING sum(calls) != 0"
    return {row[0]: (row[1], row[2]) for row in store.query(sql).result_rows}


def unpriced(store: Client) -> dict[tuple[str, str], int]:
    found = store.query("SELECT model, reason, calls FROM v_unpriced").result_rows
    return {(row[0], row[1]): row[2] for row in found}


def summed(store: Client) -> dict[str, tuple[Decimal, int]]:
    """What `sums` must say, added up from the single calls."""
    found: dict[str, tuple[Decimal, int]] = {}
    for cost, currency, *_ in costs(store).values():
        if cost is not None:
            amount, calls = found.get(currency, (D(0), 0))
            found[currency] = (amount + cost, calls + 1)
    return found


USED = """
SELECT toDate(started_at), provider, model, flat_rate_plan, if(isNull(cost), '', currency) AS unit,
    count(), sum(ifNull(input_tokens, 0) + ifNull(output_tokens, 0)), sum(c.cost)
FROM v_priced_calls AS c GROUP BY ALL ORDER BY ALL"""


def assert_usage_is_that_of_the_calls(store: Client) -> None:
    """Bills and savings are made of the same calls, tokens and newest costs as the single calls have."""
    daily = (SQL / "queries" / "daily_usage.sql").read_text(encoding="utf-8")
    found = store.query(daily, parameters={"until": ALL.until}).result_rows
    assert found == store.query(USED).result_rows


def test_repriced_calls_cost_what_they_would_if_they_were_scored_now(filled, former, catalog):
    """Region, plan, usage, tiers and names are all in the row: nothing is lost by storing it."""
    version = reprice(filled, catalog, ALL, apply=True)[1]
    repriced = costs(filled)
    filled.command("TRUNCATE TABLE calls")
    filled.command("TRUNCATE TABLE ledger")
    store_calls(filled, catalog, CALLS, offset=1)
    assert version == 1
    assert repriced == costs(filled)
    assert repriced["in china"][1] == "CNY"
    assert repriced["under a plan"][4] == "flat_rate_plan"


def test_a_preview_says_what_would_change_and_changes_nothing(filled, catalog):
    before = costs(filled), sums(filled), unpriced(filled)
    preview, version = reprice(filled, catalog, ALL)
    assert version is None
    assert (costs(filled), sums(filled), unpriced(filled)) == before
    sonnet_old = (
        3 * (D(5) * 100 + D(15) * 20) / M
        + (D(5) * 7 + D("0.3") * 13 + D("3.75") * 17 + D(15) * 11) / M
    )
    sonnet_new = (
        3 * (D(3) * 100 + D(15) * 20) / M
        + (D(3) * 7 + D("0.3") * 13 + D("3.75") * 17 + D(15) * 11) / M
    )
    glm_old, glm_new = (D("0.7") * 100 + D("2.2") * 20) / M, (D("0.6") * 100 + D("2.2") * 20) / M
    assert preview == {
        ("anthropic", SONNET, "USD"): Difference(4, sonnet_old, sonnet_new, 0),
        ("zhipu", "glm-4.6", "USD"): Difference(2, 2 * glm_old, 2 * glm_new, 0),
        ("zhipu", "glm-4.6", "CNY"): Difference(1, D(0), (D(2) * 100 + D(8) * 20) / M, 1),
        ("zhipu", "glm-4.7", "USD"): Difference(1, D(0), glm_new, 1),
    }  # fmt: skip


def test_applied_the_newest_cost_is_everywhere_and_the_old_one_stays_to_be_seen(filled, catalog):
    old = sums(filled)
    assert unpriced(filled)["glm-4.7", "unknown_model"] == 1
    assert reprice(filled, catalog, ALL, apply=True, note="Sonnet was wrong", facts="f")[1] == 1
    assert sums(filled) == summed(filled) != old
    assert_usage_is_that_of_the_calls(filled)
    assert sums(filled, "v_cost_at_version(version = 0)") == old
    assert sums(filled, "v_cost_at_version(version = 1)") == sums(filled)
    assert unpriced(filled) == {
        ("glm-4.6", "flat_rate_plan"): 1,
        ("glm-99", "unknown_model"): 1,
        ("glm-4.6", "no_usage"): 1,
    }
    named = filled.query("SELECT call_id, cost_version FROM v_calls ORDER BY 1").result_rows
    assert {row[0]: row[1] for row in named} | {"sonnet": 1, "haiku": 0} == dict(named)
    (book,) = filled.query("SELECT version, note, facts, calls, since, until FROM v_cost_versions").result_rows  # fmt: skip
    assert book == (1, "Sonnet was wrong", "f", 8, ALL.since, ALL.until)


def test_applying_again_changes_nothing_more(filled, catalog):
    reprice(filled, catalog, ALL, apply=True)
    after = costs(filled), sums(filled), unpriced(filled)
    assert reprice(filled, catalog, ALL, apply=True) == ({}, None)
    assert (costs(filled), sums(filled), unpriced(filled)) == after
    assert filled.command("SELECT count() FROM cost_versions") == 1


def test_a_second_correction_starts_from_the_first_and_all_versions_stay(filled, former, catalog):
    """Back to the former facts is version 2: the same amounts as version 0."""
    first = costs(filled), sums(filled), unpriced(filled)
    reprice(filled, catalog, ALL, apply=True)
    corrected = sums(filled)
    preview, version = reprice(filled, former, ALL, apply=True)
    assert version == 2
    assert preview["anthropic", SONNET, "USD"].old < preview["anthropic", SONNET, "USD"].new
    assert (costs(filled), sums(filled), unpriced(filled)) == first
    assert_usage_is_that_of_the_calls(filled)
    assert sums(filled, "v_cost_at_version(version = 1)") == corrected
    assert sums(filled, "v_cost_at_version(version = 0)") == first[1]


def test_a_cost_may_change_its_currency_or_become_unknown(filled, former, tmp_path):
    """Without a price abroad any more: where the region is not known the one in China is charged."""
    begins = "effective_from: 2025-09-30"
    ended = ("providers/zhipu.yml", begins, f"{begins}\n        effective_to: 2026-01-01")
    undated = ("providers/zhipu.yml", "        effective_to: 2026-01-01\n        verified", "        verified")  # fmt: skip
    facts = load_catalog(changed_facts(tmp_path / "facts", *FORMER, undated, ended))
    preview, _ = reprice(filled, facts, ALL, apply=True)
    abroad, in_china = (D("0.7") * 100 + D("2.2") * 20) / M, (D(1) * 100 + D(1) * 20) / M
    assert preview == {
        ("zhipu", "glm-4.6", "USD"): Difference(2, 2 * abroad, D(0), 0),
        ("zhipu", "glm-4.6", "CNY"): Difference(2, D(0), 2 * in_china, 1),
        ("zhipu", "glm-4.6", ""): Difference(1),  # unknown before and after, for another reason
    }
    assert costs(filled)["somewhere"][:2] == (in_china, "CNY")
    assert costs(filled)["abroad"][::4] == (None, "no_price")
    assert unpriced(filled)["glm-4.6", "no_price"] == 2
    assert sums(filled) == summed(filled)
    assert_usage_is_that_of_the_calls(filled)


@pytest.mark.parametrize(
    ("scope", "changed"),
    [
        (Scope(since=date(2026, 11, 19), until=date(2026, 11, 20)), {"later"}),
        (Scope(since=date(2026, 11, 20), until=date(2027, 1, 1)), set()),
        (
            Scope(since=date(2026, 11, 18), until=date(2026, 11, 19), provider="zhipu"),
            {"abroad", "in china", "somewhere", "not known before"},
        ),
    ],
)
def test_only_the_calls_of_the_days_and_the_provider_named_are_touched(
    filled, catalog, scope, changed
):
    before = costs(filled)
    reprice(filled, catalog, scope, apply=True)
    after = costs(filled)
    assert {call for call in before if after[call] != before[call]} == changed
    assert sums(filled) == summed(filled)


def test_calls_that_come_later_are_added_to_the_newest_version(filled, catalog):
    reprice(filled, catalog, ALL, apply=True)
    store_calls(filled, catalog, [anthropic_record("new")], offset=1)
    assert sums(filled) == summed(filled)
    assert reprice(filled, catalog, ALL) == ({}, None)


def test_the_size_of_a_batch_does_not_matter(filled, catalog, monkeypatch):
    monkeypatch.setattr(versions, "SLICE_CALLS", 1)
    slices = list(versions.stored_calls(filled, ALL))
    assert [len(calls) for calls in slices] == [len(CALLS) - 1, 1]  # whole minutes
    reprice(filled, catalog, ALL, apply=True)
    assert sums(filled) == summed(filled)


class BreaksAt:
    """A client that fails at the n-th insert into a table, before or after the rows got there."""

    def __init__(self, client: Client, table: str, at: int, *, after: bool) -> None:
        self.client, self.table, self.left, self.after = client, table, at, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def insert(self, table: str, *arguments: Any, **named: Any) -> None:
        self.left -= table == self.table
        if self.left or self.after:
            self.client.insert(table, *arguments, **named)
        if not self.left:
            raise StoreError("broken on purpose")


@pytest.mark.parametrize(
    ("table", "at", "after"),
    [
        ("cost_changes", 1, False),
        ("cost_changes", 1, True),
        ("cost_changes", 2, True),
        ("cost_versions", 1, False),
    ],
)
def test_a_version_that_broke_off_does_not_count_and_the_next_run_makes_it_whole(
    filled, catalog, monkeypatch, table, at, after
):
    monkeypatch.setattr(versions, "SLICE_CALLS", 1)
    before = costs(filled), sums(filled), unpriced(filled)
    with pytest.raises(StoreError):
        reprice(BreaksAt(filled, table, at, after=after), catalog, ALL, apply=True)  # type: ignore[arg-type]
    assert (costs(filled), sums(filled), unpriced(filled)) == before
    assert reprice(filled, catalog, ALL, apply=True)[1] == 1
    assert sums(filled) == summed(filled) != before[1]
    assert reprice(filled, catalog, ALL) == ({}, None)


class OvertakenBy(BreaksAt):
    """A client whose user is overtaken by another run just before its version is written."""

    def __init__(self, client: Client, catalog: Catalog) -> None:
        super().__init__(client, "", -1, after=False)
        self.catalog = catalog

    def insert(self, table: str, *arguments: Any, **named: Any) -> None:
        if table == "cost_versions":
            reprice(self.client, self.catalog, ALL, apply=True)
        self.client.insert(table, *arguments, **named)


def test_of_two_runs_at_once_one_alone_counts(filled, catalog):
    with pytest.raises(VersionTakenError, match="cost version 1"):
        reprice(OvertakenBy(filled, catalog), catalog, ALL, apply=True)  # type: ignore[arg-type]
    assert filled.command("SELECT count() FROM cost_versions") == 1
    assert sums(filled) == summed(filled)
    assert reprice(filled, catalog, ALL) == ({}, None)


def test_a_model_that_costs_nothing_is_a_priced_call(store, catalog):
    """Zero is a known cost: glm-4.5-flash is free in China."""
    store_calls(store, catalog, [zhipu("free", "glm-4.5-flash", "open.bigmodel.cn")])
    assert sums(store) == {"CNY": (D(0), 1)}
    assert unpriced(store) == {}


def test_rows_stored_without_a_region_have_that_of_their_price(store):
    """Rows from before the column; a region that was guessed counts as known."""
    rows = [
        ["a", "zhipu/glm-4.6/mainland/undated", ""],
        ["b", "zhipu/org/model/international/2025-01-01", ""],
        ["c", "", "flat_rate_plan"],
    ]
    store.insert("calls", rows, column_names=["call_id", "price_id", "cost_unknown"])
    found = store.query("SELECT region, flat_rate_plan FROM calls ORDER BY call_id").result_rows
    assert found == [("mainland", ""), ("international", ""), ("", "unnamed")]


def test_a_table_for_people() -> None:
    """Amounts are written out to the last digit; where none is known it says so."""
    preview: Preview = {
        ("zhipu", "glm-4.6", "CNY"): Difference(2, D("0E-12"), D("0.000720000000"), 1),
        ("zhipu", "glm-99", ""): Difference(1),
    }
    assert render(preview).splitlines() == [
        "provider  model    currency  calls  old sum         new sum         difference      now priced",
        "zhipu     glm-4.6  CNY       2      0.000000000000  0.000720000000  0.000720000000  1",
        "zhipu     glm-99             1      unknown         unknown                         0",
    ]


def test_the_fingerprint_tells_facts_apart(tmp_path: Path) -> None:
    same = changed_facts(tmp_path / "same")
    other = changed_facts(tmp_path / "other", ("fx.yml", "7.14", "7.15"))
    assert fingerprint() == fingerprint(same) != fingerprint(other)


@pytest.fixture
def command(filled, store_settings, monkeypatch) -> Iterator[Any]:
    monkeypatch.setenv("CUTOVER_CLICKHOUSE_URL", store_settings.clickhouse_url)
    monkeypatch.setenv("CUTOVER_CLICKHOUSE_DATABASE", store_settings.clickhouse_database)
    return lambda *arguments: cli.main(["reprice", *arguments])


def test_the_command_previews_first_and_applies_when_told(command, filled, capsys):
    before = sums(filled)
    assert command("--since", "2026-11-01") == 0
    said = capsys.readouterr().out
    assert "glm-4.7" in said
    assert said.endswith("nothing was changed: --apply makes this the new cost version\n")
    assert sums(filled) == before
    assert command("--since", "2026-11-01", "--apply", "--note", "corrected") == 0
    assert capsys.readouterr().out.endswith("applied as cost version 1\n")
    assert sums(filled) == summed(filled) != before
    assert command("--since", "2026-11-01", "--until", "2026-12-01", "--apply") == 0
    assert capsys.readouterr().out.startswith("nothing to change")
    assert filled.command("SELECT facts FROM cost_versions") == fingerprint()


def test_the_command_says_what_is_wrong_with_its_use(command, capsys):
    assert command("--since", "2026-11-02", "--until", "2026-11-02") == 2
    assert "must be later" in capsys.readouterr().err
    assert command("--since", "2026-11-02", "--provider", "nobody") == 2
    assert "use one of anthropic" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command("--since", "yesterday")
