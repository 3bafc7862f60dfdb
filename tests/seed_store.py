"""A believable two days of a migration, written straight into a migrated store for the page tests.

Everything is a function of a row's number, so two seeds at the same instant are equal. The rows
obey the account: what the producer made = stored + rejected + duplicates + in flight.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.catalog import Catalog
from pipeline.settings import Settings
from pipeline.store.connect import Client, connect
from pipeline.store.migrate import migrate

CALLS = 40_000
CALLS_AN_INSERT = 250_000
SPAN_S = 2 * 86_400
PARTITIONS = 4
REJECTED = (
    ("not_json", "the bytes are not JSON: Expecting value", "<html>502 Bad Gateway</html>"),
    ("not_json", "the bytes are not JSON: truncated", '{"call_id": "c-1", "provider": "zhi'),
    ("unknown_format", "no format of ours fits these fields", '{"hello": "[world](http://x)"}'),
    ("empty", "the message has no bytes", ""),
)
DUPLICATES = 12
IN_FLIGHT = 8

HOSTILE = "<img src=x onerror=alert(1)> **bold** [link](javascript:alert(1)) =1+1"

#   workload: (names, owner, share of calls, [(stage, when as a fraction of the two days, shares)])
WORKLOADS: dict[str, tuple[dict[str, str], str, float, list[tuple[str, float, dict[str, float]]]]] = {
    "support": (
        {"en": "Support bot", "zh": "客服机器人"}, "Chen Wei", 0.4,
        [("canary", 0.3, {"kimi": 0.05}), ("quarter", 0.6, {"kimi": 0.25}),
         ("half", 0.9, {"kimi": 0.5}), ("all", 1.5, {"kimi": 1.0})],
    ),
    "code-agent": (
        {"en": "Code agent", "zh": "编程助手"}, "Li Na", 0.3,
        [("canary", 0.4, {"glm": 0.1}), ("two-way", 0.8, {"glm": 0.3, "deepseek": 0.1, "glm-air": 0.1}),
         ("most", 2.0, {"glm": 0.7, "deepseek": 0.1, "glm-air": 0.1})],
    ),
    "game": (
        {"en": "Game dialogue", "zh": "游戏对白"}, "Wang Fang", 0.2,
        [("canary", 0.2, {"doubao": 0.2}), ("majority", 0.5, {"doubao": 0.6}), ("all", 0.85, {"doubao": 1.0})],
    ),
    "extraction": (
        {"en": "Invoice extraction", "zh": "发票信息提取"}, "", 0.1,
        [("canary", 0.5, {"qwen": 0.1}), ("third", 0.9, {"qwen": 0.33}), ("all", 2.4, {"qwen": 1.0})],
    ),
}  # fmt: skip

#   endpoint: provider, model, $ or ¥ per million input and output tokens, first token ms, failures, quality,
#             price of a million tokens read from the cache, region of the price list
# The prices are the catalog's, so that a bill adds up line by line.
ENDPOINTS: dict[str, tuple[str, str, str, float, float, int, float, float, float, str]] = {
    "claude": ("anthropic", "claude-sonnet-4-5", "USD", 3.0, 15.0, 620, 0.006, 0.985, 0.3, ""),
    "kimi": ("moonshot", "kimi-k2-0905-preview", "CNY", 4.0, 16.0, 780, 0.009, 0.978, 1.0, "mainland"),
    "glm": ("zhipu", "glm-4.6", "CNY", 2.0, 8.0, 540, 0.008, 0.981, 0.4, "mainland"),
    "glm-air": ("zhipu", "glm-4.5-air", "CNY", 0.8, 2.0, 380, 0.011, 0.97, 0.16, "mainland"),
    "deepseek": ("deepseek", "deepseek-chat", "CNY", 2.0, 3.0, 900, 0.014, 0.94, 0.2, "mainland"),
    "doubao": ("volcengine", "doubao-seed-1-6", "CNY", 0.8, 2.0, 430, 0.005, 0.982, 0.16, "mainland"),
    "qwen": ("dashscope", "qwen3-max-preview", "CNY", 2.5, 10.0, 510, 0.012, 0.975, 2.5, "mainland"),
}  # fmt: skip
BASELINE = "claude"
CHECKS_VERSION = 2


def seed(client: Client, *, now: datetime | None = None, calls: int = CALLS) -> None:
    """Fills an empty, migrated store with two days that end now."""
    end = now or datetime.now(UTC)
    start = end - timedelta(seconds=SPAN_S)
    for first in range(0, calls, CALLS_AN_INSERT):
        _seed_calls(client, start, calls, first, min(CALLS_AN_INSERT, calls - first))
    _seed_rejected(client, end, calls)
    _seed_account(client, end, calls)
    _seed_plan(client, start)
    _seed_events(client, start)
    _seed_verdicts(client, start, end)
    _seed_pairs(client, end)


def plan_document(start: datetime) -> dict[str, Any]:
    """The plan the seeded calls follow, as it stands in `plans.document`."""
    return {
        "migration": "Leaving Claude",
        "baseline": BASELINE,
        "endpoints": {
            name: {"provider": row[0], "model": row[1], "key_env": f"{name.upper()}_API_KEY"}
            for name, row in ENDPOINTS.items()
        },
        "workloads": {
            key: {
                "name": names,
                "owner": owner,
                "match": {"app": key},
                "stages": [
                    {"name": name, "from": _iso(_at(start, when)), "shares": shares}
                    for name, when, shares in stages
                ],
            }
            for key, (names, owner, _, stages) in WORKLOADS.items()
        },
        "deadline": _iso(_at(start, 3.0)),
    }


def _at(start: datetime, fraction: float) -> datetime:
    return start + timedelta(seconds=fraction * SPAN_S)


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _random(key: int) -> str:
    """SQL: a number in [0, 1) fixed by the row's number and this key."""
    return f"(cityHash64(number, {key}) % 1000003) / 1000003"


def call_id(number: str) -> str:
    """SQL: the id of a call by its number, six digits or more."""
    digits = f"toString({number})"
    return f"concat('call-', leftPad({digits}, greatest(6, length({digits})), '0'))"


def _workload_sql() -> str:
    edge, cases = 0.0, []
    for key, (_, _, weight, _) in WORKLOADS.items():
        edge += weight
        cases.append(f"{_random(1)} < {edge}, '{key}'")
    return f"multiIf({', '.join(cases)}, 'support')"


def _route_sql(column: str) -> str:
    """SQL: the endpoint (or the stage's name) in force for `workload` at `progress`."""
    cases = []
    for key, (_, _, _, stages) in WORKLOADS.items():
        for name, when, shares in reversed(stages):
            edge, arms = 0.0, []
            for endpoint, share in shares.items():
                edge += share
                arms.append(f"{_random(3)} < {edge}, '{endpoint}'")
            chosen = (
                f"multiIf({', '.join(arms)}, '{BASELINE}')" if column == "endpoint" else f"'{name}'"
            )
            cases.append(f"workload = '{key}' AND progress >= {when}, {chosen}")
    return f"multiIf({', '.join(cases)}, '{BASELINE if column == 'endpoint' else ''}')"


def _by_endpoint(position: int) -> str:
    """SQL: one column of ENDPOINTS for the row's endpoint."""
    quote = repr if isinstance(ENDPOINTS[BASELINE][position], str) else str
    values = [quote(row[position]) for row in ENDPOINTS.values()]
    return f"transform(endpoint, {list(ENDPOINTS)}, [{', '.join(values)}], {values[0]})"


def _price(position: int) -> str:
    """SQL: a price of the row's endpoint in thousandths, exact."""
    values = [str(round(1000 * row[position])) for row in ENDPOINTS.values()]
    return f"toUInt64(transform(endpoint, {list(ENDPOINTS)}, [{', '.join(values)}], {values[0]}))"


def _seed_calls(client: Client, start: datetime, calls: int, first: int, count: int) -> None:
    """`count` of the store's `calls`, from number `first` on."""
    incident = "endpoint = 'kimi' AND progress BETWEEN 0.93 AND 0.95 AND " + _random(7) + " < 0.3"
    client.command(f"""
INSERT INTO calls (
    cluster, topic, kafka_partition, kafka_offset, position, received_at, received_on,
    inserted_at, call_id, request_id, attempt, final, source, conversation_id, workload, app,
    team, tags, arm, stage, share, shadow_of, provider, host, region, protocol, request_model,
    response_model, model, started_at, time_to_first_token_ms, duration_ms, stream, http_status,
    finish_reason, failure, failure_code, failure_message, fault, input_tokens,
    cache_read_input_tokens, cache_write_5m_input_tokens, cache_write_1h_input_tokens,
    output_tokens, reasoning_output_tokens, usage_estimated, cost, currency, price_id,
    cost_estimated, cost_unknown, gateway_cost_usd, quality, checks, evidence, checks_version,
    findings, doubts, language, tools_called
)
WITH
    toDateTime64('{start:%Y-%m-%d %H:%M:%S}', 3, 'UTC') AS begin,
    least(1 - 1e-5, number / {calls}) AS progress,
    {_workload_sql()} AS workload_,
    {_route_sql("endpoint").replace("workload =", "workload_ =")} AS routed,
    workload_ = 'extraction' AND {_random(9)} < 0.1 AS shadow_,
    if(shadow_, 'deepseek', routed) AS endpoint,
    {incident} AS in_incident,
    multiIf(in_incident, 'overloaded',
            {_random(4)} >= {_by_endpoint(6)}, if({_random(5)} < 0.004, 'cancelled', ''),
            ['rate_limit', 'server_error', 'timeout', 'overloaded', 'invalid_request', 'truncated_stream']
                [1 + toUInt8(6 * {_random(6)} * {_random(8)})]) AS failure_,
    begin + toIntervalMillisecond(toInt64(progress * {SPAN_S} * 1000)) AS started_,
    toUInt32({_by_endpoint(5)} * exp(1.1 * ({_random(10)} + {_random(11)} - 1))) AS first_,
    workload_ != 'extraction' AS streamed,
    failure_ IN ('', 'truncated_stream', 'cancelled') AS answered,
    toUInt64(200 + 3000 * pow({_random(12)}, 3) + if(workload_ = 'code-agent', 6000, 0)) AS input_,
    toUInt64(40 + 700 * {_random(13)} * {_random(14)}) AS output_,
    if(workload_ = 'code-agent', toUInt64(input_ * 0.7), toUInt64(0)) AS cached_,
    (input_ - cached_) * {_price(3)} + cached_ * {_price(8)} + output_ * {_price(4)} AS nano_,
    if({_random(15)} < {_by_endpoint(7)}, 1, 0) AS good,
    endpoint = 'doubao' AND {_random(16)} < 0.05 AS strange
SELECT
    'seed' AS cluster, 'llm.calls' AS topic, number % {PARTITIONS} AS kafka_partition,
    intDiv(number, {PARTITIONS}) AS kafka_offset, 0 AS position,
    inserted_at AS received_at, toDate(inserted_at) AS received_on,
    least(now64(3), started_ + toIntervalMillisecond(duration_ms + 350 + toUInt32(500 * pow({_random(18)}, 4)))) AS inserted_at,
    {call_id("number")} AS call_id, concat('req-', toString(number)) AS request_id,
    1 AS attempt, true AS final, 'cutover' AS source,
    concat(workload_, '-', toString(intDiv(number, 40))) AS conversation_id, workload_ AS workload, workload_ AS app,
    if(workload_ = 'game', 'studio', 'platform') AS team,
    map('env', 'prod', 'note', if(number % 500 = 0, '{HOSTILE}', 'plain')) AS tags,
    multiIf(shadow_, 'shadow', endpoint = '{BASELINE}', 'baseline', 'candidate') AS arm,
    {_route_sql("stage").replace("workload =", "workload_ =")} AS stage, NULL AS share,
    if(shadow_, {call_id("number - 1")}, '') AS shadow_of,
    {_by_endpoint(0)} AS provider, concat('api.', provider, '.example') AS host, {_by_endpoint(9)} AS region,
    'anthropic_messages' AS protocol,
    {_by_endpoint(1)} AS request_model, request_model AS response_model,
    if(strange, 'doubao-seed-9-preview', request_model) AS model,
    started_ AS started_at,
    if(answered AND streamed, first_, NULL) AS time_to_first_token_ms,
    if(answered, first_ * 2 + toUInt32(output_ * 14), toUInt32(60 + 900 * {_random(17)})) AS duration_ms,
    streamed AS stream,
    transform(failure_, ['rate_limit', 'server_error', 'timeout', 'overloaded', 'invalid_request'],
              [429, 500, 504, 529, 400], 200) AS http_status,
    if(answered, 'stop', '') AS finish_reason,
    failure_ AS failure, if(in_incident, 'engine_overloaded_error', failure_) AS failure_code,
    if(failure_ = '', '', concat('the vendor said: ', failure_, if(number % 7 = 0, ' {HOSTILE}', ''))) AS failure_message,
    multiIf(failure_ = '', '', failure_ = 'cancelled', 'client', failure_ = 'invalid_request', 'caller', 'provider') AS fault,
    if(answered, input_, NULL) AS input_tokens,
    if(answered, cached_, NULL) AS cache_read_input_tokens,
    if(answered, 0, NULL) AS cache_write_5m_input_tokens, if(answered, 0, NULL) AS cache_write_1h_input_tokens,
    if(answered, output_, NULL) AS output_tokens, NULL AS reasoning_output_tokens,
    failure_ = 'truncated_stream' AS usage_estimated,
    if(answered AND NOT strange,
       toDecimal64(concat(toString(intDiv(nano_, 1000000000)), '.', leftPad(toString(nano_ % 1000000000), 9, '0')), 12), NULL) AS cost,
    if(isNull(cost), '', {_by_endpoint(2)}) AS currency,
    if(isNull(cost), '', concat(provider, '/', model, '@2025-09-01')) AS price_id,
    isNotNull(cost) AND usage_estimated AS cost_estimated,
    multiIf(isNotNull(cost), '', strange, 'unknown_model', 'no_usage') AS cost_unknown,
    NULL AS gateway_cost_usd,
    if(failure_ IN ('', 'truncated_stream'), toDecimal64((2 + good) / 3, 4), NULL) AS quality,
    if(isNull(quality), map(), map('delivered', toDecimal64(1, 4), 'complete', toDecimal64(failure_ = '', 4),
       if(workload_ = 'code-agent', 'tool_calls_valid', 'not_refused'), toDecimal64(good, 4))) AS checks,
    if(good = 1 OR isNull(quality), map(), map(if(workload_ = 'code-agent', 'tool_calls_valid', 'not_refused'),
       if(number % 3 = 0, '{HOSTILE}', 'argument "path" is missing'))) AS evidence,
    {CHECKS_VERSION} AS checks_version,
    if(failure_ = 'truncated_stream', ['missing_message_stop'], []) AS findings,
    if(number % 1999 = 0, ['start_in_future'], []) AS doubts,
    multiIf({_random(19)} < 0.5, 'zh', {_random(19)} < 0.9, 'latin', '') AS language,
    multiIf(workload_ != 'code-agent' OR failure_ != '', [], number % 997 = 0, ['{HOSTILE}'],
            {_random(20)} < 0.5, ['read_file'], {_random(20)} < 0.8, ['read_file', 'edit_file'], []) AS tools_called
FROM numbers({first}, {count})
""")


def _seed_rejected(client: Client, end: datetime, calls: int) -> None:
    client.insert(
        "rejected",
        [
            ["seed", "llm.calls", n % PARTITIONS, calls // PARTITIONS, 0,
             end - timedelta(minutes=7 * n), end.date(), reason, detail, value]
            for n, (reason, detail, value) in enumerate(REJECTED)
        ],
        column_names=["cluster", "topic", "kafka_partition", "kafka_offset", "position",
                      "received_at", "received_on", "reason", "detail", "value"],
    )  # fmt: skip


def _seed_account(client: Client, end: datetime, calls: int) -> None:
    each, rejected, duplicates = (
        calls // PARTITIONS,
        len(REJECTED) // PARTITIONS,
        DUPLICATES // PARTITIONS,
    )
    read = each + rejected + duplicates
    ledger = [
        ["seed", "llm.calls", p, 0, read - 1, each, rejected, duplicates, "worker-1", end]
        for p in range(PARTITIONS)
    ]
    ends = [
        ["seed", "llm.calls", p, 0, read + IN_FLIGHT // PARTITIONS, end] for p in range(PARTITIONS)
    ]
    gone = [["an-older-broker", "llm.calls", 0, 0, 500, end - timedelta(days=9)]]
    gone_ledger = [
        ["an-older-broker", "llm.calls", 0, 0, 499, 0, 0, 0, "worker-1", end - timedelta(days=9)]
    ]
    client.insert("ledger", ledger + gone_ledger, column_names=[
        "cluster", "topic", "kafka_partition", "offset_from", "offset_to",
        "stored", "rejected", "duplicates", "worker", "inserted_at"])  # fmt: skip
    client.insert("partitions", ends + gone, column_names=[
        "cluster", "topic", "kafka_partition", "first_offset", "end_offset", "observed_at"])  # fmt: skip
    produced = PARTITIONS * read + IN_FLIGHT
    client.insert(
        "producers",
        [["seed", "tap", end, produced, produced - 3, 3, 0, 0]],
        column_names=[
            "cluster",
            "producer",
            "at",
            "produced",
            "sent",
            "waiting",
            "dropped",
            "resent",
        ],
    )


def _seed_plan(client: Client, start: datetime) -> None:
    """The plan as it was frozen, and the one in force, in which the game's last stage is later."""
    frozen = plan_document(start)
    frozen["workloads"]["game"]["stages"][-1]["from"] = _iso(_at(start, 0.7))
    versions = [("frozen-plan", start, "Li Na", frozen), ("seed-plan", _at(start, 0.6), "Chen Wei", plan_document(start))]  # fmt: skip
    client.insert(
        "plans",
        [
            [name, at, json.dumps(document, ensure_ascii=False)]
            for name, at, _, document in versions
        ],
        column_names=["plan_hash", "recorded_at", "document"],
    )
    client.insert(
        "plan_changes",
        [[at, name, by] for name, at, by, _ in versions],
        column_names=["recorded_at", "plan_hash", "set_by"],
    )


def _seed_events(client: Client, start: datetime) -> None:
    changes = [
        [f"{key}-{name}", _at(start, when), "stage_changed", key, "",
         json.dumps({"workload": key, "stage": name, "shares": shares})]
        for key, (_, _, _, stages) in WORKLOADS.items()
        for name, when, shares in stages
        if when < 1
    ]  # fmt: skip
    client.insert(
        "events", changes, column_names=["event_id", "at", "kind", "workload", "provider", "fields"]
    )


#   workload, endpoint: verdict, reason, gates (name, state, loss, lower, upper, margin, conversations needed)
VERDICTS: dict[tuple[str, str], tuple[str, str, list[tuple[str, str, float, float, float, float, int | None]]]] = {
    ("support", "kimi"): (
        "HOLD", "Failures: not yet shown to be tolerable.",
        [("failure", "open", 0.004, -0.003, 0.013, 0.01, 3100), ("score", "passed", 0.001, -0.01, 0.012, 0.02, None),
         ("check:not_refused", "open", 0.01, -0.01, 0.03, 0.02, 5200)],
    ),
    ("code-agent", "glm"): (
        "PROMOTE", "Every gate is passed.",
        [("failure", "passed", -0.002, -0.008, 0.005, 0.01, None),
         ("pair:disagreement", "passed", 0.01, -0.02, 0.04, 0.05, None)],
    ),
    ("code-agent", "glm-air"): (
        "HOLD", "Quality score: not yet shown to be tolerable.",
        [("score", "open", 0.015, -0.01, 0.04, 0.02, 2400)],
    ),
    ("code-agent", "deepseek"): (
        "ROLLBACK", f"Quality score: shown to be worse. {HOSTILE}",
        [("score", "harmed", 0.06, 0.03, 0.09, 0.02, None)],
    ),
}  # fmt: skip


def _seed_verdicts(client: Client, start: datetime, end: datetime) -> None:
    """A verdict in force for three candidates, the one before it, and the path of their evidence."""
    names = ["at", "workload", "candidate", "provider", "model", "epoch", "verdict", "since", "reason_en", "reason_zh",
             "stage", "share", "units_baseline", "units_candidate", "pairs", "late_calls", "late_units", "late_pairs", "plan_hash", "set_by",
             "after_data", "proven", "formulas", "gates", "changed"]  # fmt: skip
    rows, paths, epochs = [], [], []
    for (workload, candidate), (verdict, reason, gates) in VERDICTS.items():
        provider, model = ENDPOINTS[candidate][:2]
        epochs.append([workload, candidate, 1, "h", "seed-plan", start, "Chen Wei", False, "{}"])
        for said, at in (("HOLD", _at(start, 0.6)), (verdict, _at(start, 0.95))):
            document = json.dumps([_gate(*gate, end) for gate in gates])
            rows.append([at, workload, candidate, provider, model, 1, said, at, reason, "理由", "stage", 0.25, 900, 300, 120, 2, 0, 1,
                         "seed-plan", "Chen Wei", False, False, 1, document, True])  # fmt: skip
        paths += [
            [_at(start, 0.4 + 0.05 * n), workload, candidate, 1, gate[0], 90 * n, 30 * n, 0.25 * n, -0.05 * n, gate[2], gate[3], gate[4]]
            for gate in gates
            for n in range(12)
        ]  # fmt: skip
    client.insert("verdicts", rows, column_names=names)
    client.insert("epochs", epochs, column_names=[
        "workload", "candidate", "epoch", "epoch_hash", "plan_hash", "starts_at", "set_by", "after_data", "gates"])  # fmt: skip
    client.insert("evidence", paths, column_names=[
        "at", "workload", "candidate", "epoch", "gate", "units_baseline", "units_candidate", "log_e_promote",
        "log_e_rollback", "estimate", "lower", "upper"])  # fmt: skip


def _gate(
    name: str, state: str, loss: float, lower: float, upper: float, margin: float, needed: int | None, end: datetime
) -> dict[str, Any]:  # fmt: skip
    ready = round(end.timestamp() * 1000) + 86_400_000
    forecast = needed and {
        "conversations": needed,
        "least": needed // 2,
        "most": needed * 3,
        "ready_at": ready,
    }
    return {
        "gate": name, "unit": "points", "state": state, "baseline": 0.02, "candidate": 0.02 + loss, "estimate": loss,
        "lower": lower, "upper": upper, "margin": margin, "harm": margin, "log_e_promote": 2.1, "promote_threshold": 3.0,
        "log_e_rollback": -0.4, "rollback_threshold": 4.6, "n_baseline": 900, "n_candidate": 300,
        "forecast": forecast or None,
    }  # fmt: skip


def _seed_pairs(client: Client, end: datetime) -> None:
    """Mirrored calls of the invoice extraction, to a candidate and to the baseline once more."""
    rows = [
        ["seed", "llm.calls", 0, 10**7 + n, 0, end, end.date(), f"shadow-{n}", f"call-{n:06}", f"extraction-{n}", "extraction",
         "canary", *(("baseline", "anthropic", "claude-sonnet-4-5") if n % 4 == 0 else ("candidate", "dashscope", "qwen3-max-preview")),
         "anthropic", "claude-sonnet-4-5", end - timedelta(minutes=n), {"same_outcome": 1 - n % 7 // 6, "similar_text": 1 - n % 3 / 4},
         {"similar_text": HOSTILE}, 1]
        for n in range(80)
    ]  # fmt: skip
    client.insert("pairs", rows, column_names=[
        "cluster", "topic", "kafka_partition", "kafka_offset", "position", "received_at", "received_on", "call_id", "shadow_of",
        "conversation_id", "workload", "stage", "mirrored_to", "provider", "model", "twin_provider", "twin_model",
        "started_at", "agreement", "evidence", "agreement_version"])  # fmt: skip


@contextmanager
def seeded(clickhouse_url: str, catalog: Catalog, **sizes: Any) -> Iterator[Settings]:
    """Settings of a database of its own, migrated and seeded; dropped at the end."""
    settings = replace(
        Settings(),
        clickhouse_url=clickhouse_url,
        clickhouse_database=f"pages_{uuid.uuid4().hex[:12]}",
    )
    migrate(settings, catalog)
    with connect(settings) as client:
        seed(client, **sizes)
        yield settings
        client.command(f"DROP DATABASE `{settings.clickhouse_database}`")
