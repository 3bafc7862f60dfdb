"""The appendix: one page for each workload, and one on how the numbers are made. Pure."""

from collections.abc import Callable, Iterator
from datetime import UTC
from decimal import Decimal
from math import isnan, nan
from typing import NamedTuple

from pipeline import stats
from pipeline.report import figures
from pipeline.report.board import saved_figure, trend
from pipeline.report.document import (
    BarChart,
    Bars,
    Block,
    Cell,
    Column,
    Figure,
    Figures,
    Forest,
    Interval,
    Note,
    Page,
    Pair,
    Table,
)
from pipeline.report.findings import gate_tone, verdict_tone
from pipeline.report.numbers import signed
from pipeline.report.snapshot import ArmSums, Gate, Snapshot, Verdict
from pipeline.report.words import Words
from pipeline.savings import Saving
from pipeline.stats import Estimate
from pipeline.verdicts.plan import Plan, gates_of

FAILURES_SHOWN = 6
CANDIDATES_SHOWN = 2


def workload_page(
    words: Words, snapshot: Snapshot, plan: Plan, key: str, saving: Saving | None
) -> Page:
    """Everything on one workload."""
    verdict = figures.verdict_of(snapshot, key)
    reason = words.reason(verdict.reason_en, verdict.reason_zh) if verdict else ""
    owner = plan.workloads[key].owner or words("figure.no_owner")
    return Page(
        kind="workload",
        title=words("appendix", name=words.workload(key)),
        side=f"{words('figure.owner')} {owner}" if plan.workloads[key].owner else owner,
        tone=verdict_tone(words, verdict.verdict if verdict else ""),
        sentence=reason or words("verdict.none.why"),
        blocks=(
            _figures(words, snapshot, plan, key, saving),
            *_forests(words, snapshot, plan, key),
            _comparison(words, snapshot, key),
            Pair(
                left=trend(words, snapshot, words("trend.title.workload"), workload=key),
                right=_failures(words, snapshot, key),
                ratio=0.5,
            ),
        ),
    )  # fmt: skip


def _figures(
    words: Words, snapshot: Snapshot, plan: Plan, key: str, saving: Saving | None
) -> Figures:
    show, work = words.show, plan.workloads[key]
    stage = work.stage_at(figures.ms(snapshot.taken_at))
    coming = figures.coming(work, snapshot.taken_at)
    since = show.moment(stage.starts.astimezone(UTC)) if stage else ""
    planned = show.percent(figures.planned(snapshot, key), 0)
    return Figures(
        (
            Figure(
                label=words("figure.stage"),
                value=stage.name if stage else words("figure.not_begun"),
                note=words("figure.stage.since", at=since) if stage else "",
            ),
            Figure(
                label=words("figure.actual"),
                value=show.percent(figures.actual(snapshot, key), 0),
                note=f"{words('figure.planned')} {planned}",
            ),
            Figure(
                label=words("figure.next"),
                value=coming.name if coming else show.count(None),
                note=show.moment(coming.starts.astimezone(UTC)) if coming else words("figure.last"),
            ),
            saved_figure(words, saving, snapshot.currency),
        )
    )  # fmt: skip


def _forests(words: Words, snapshot: Snapshot, plan: Plan, key: str) -> Iterator[Forest]:
    """One for each candidate that the judge has spoken on."""
    found = [verdict for verdict in snapshot.verdicts if verdict.workload == key]
    for verdict in found:
        candidate = words.provider(verdict.provider)
        title = words("gates.title.candidate", candidate=candidate) if len(found) > 1 else words("gates.title")  # fmt: skip
        yield Forest(
            title=title,
            rows=tuple(_interval(words, gate, _currency(plan, verdict)) for gate in verdict.gates),
            heads=(words("gates.gate"), words("gates.state"), words("gates.loss_head")),
            margin=words("gates.margin"),
            better=words("gates.better"),
            note=_gates_note(words, verdict),
        )


def _gates_note(words: Words, verdict: Verdict) -> str:
    counts = {
        "baseline": words.show.count(verdict.units_baseline),
        "candidate": words.show.count(verdict.units_candidate),
    }
    parts = [words("gates.note", **counts)]
    if verdict.verdict in ("PROMOTE", "ROLLBACK"):
        parts.append(words("gates.proven" if verdict.proven else "gates.not_proven"))
    if verdict.after_data:
        parts.append(words("gates.after_data"))
    return ("" if words.language == "zh" else " ").join(parts)


def _currency(plan: Plan, verdict: Verdict) -> str:
    gates = gates_of(plan, verdict.workload) if verdict.workload in plan.workloads else None
    return gates.cost.currency if gates and gates.cost else ""


def _interval(words: Words, gate: Gate, currency: str) -> Interval:
    """A gate's numbers, and its interval drawn around the margin."""
    same = 1.0 if gate.unit == "ratio" else 0.0
    known = [v for v in (gate.lower, gate.estimate, gate.upper) if v is not None]
    reach = max((abs(value - gate.margin) for value in (*known, same)), default=0.0) * 1.05 or 1.0

    def place(value: float | None) -> float | None:
        return None if value is None else (value - gate.margin) / reach

    def number(value: float | None) -> str:
        return _loss(words, gate.unit, value)

    margin = words.show.points(gate.margin) if gate.unit == "points" else number(gate.margin)
    if gate.unit not in ("points", "ratio"):
        margin = f"{margin} {gate.unit or currency}".rstrip()
    if gate.estimate is None:
        text = words("gates.loss.unknown", margin=margin)
    else:
        span = f"{number(gate.lower)} – {number(gate.upper)}"
        text = words("gates.loss", loss=number(gate.estimate), span=span, margin=margin)
    return Interval(
        label=words.gate(gate.gate),
        text=text,
        tone=gate_tone(words, gate.state),
        low=place(gate.lower),
        at=place(gate.estimate),
        high=place(gate.upper),
        same=place(same),
    )


def _loss(words: Words, unit: str, value: float | None) -> str:
    """A loss without its unit, which stands once behind the margin."""
    if value is None:
        return words.show.count(None)
    if unit == "points":
        return signed(100 * value, 2)
    return words.show.ratio(value) if unit == "ratio" else signed(value, 4)


def _comparison(words: Words, snapshot: Snapshot, key: str) -> Block:
    """Each measure of the baseline and its candidates, with differences."""
    base = next(iter(figures.arm_sums(snapshot, key, "baseline")), None)
    candidates = figures.arm_sums(snapshot, key, "candidate")[:CANDIDATES_SHOWN]
    since, until = (
        words.show.moment(at) for at in (snapshot.since or snapshot.taken_at, snapshot.taken_at)
    )
    title = words("compare.title", since=since, until=until)
    if not candidates:
        return Note(title=title, paragraphs=(words("compare.none"),))
    arms = [row for row in (base, *candidates) if row]
    columns = [Column(head=words("compare.measure"), width=1.9)]
    for row in arms:
        columns.append(Column(head=words.provider(row.provider), width=1.5, number=True))
        if row is not base:
            columns.append(Column(head=words("compare.difference"), width=1.5, number=True))
    lines = tuple(_line(words, measure, arms, base) for measure in _measures(words, snapshot, arms))
    return Table(title=title, columns=tuple(columns), rows=lines, note=words("compare.note"))


class _Measure(NamedTuple):
    """How one measure is reckoned, shown, and compared: "points", "ratio" or "" (not at all)."""

    name: str
    of: Callable[[ArmSums], Estimate | None]
    shown: Callable[[float], str]
    compared: str


def _measures(words: Words, snapshot: Snapshot, arms: list[ArmSums]) -> list[_Measure]:
    show = words.show

    def percent(value: float) -> str:
        return show.percent(value, 2)

    def money(value: float) -> str:
        return show.money(Decimal(value), snapshot.currency)

    found = [
        _Measure("calls", lambda r: _exactly(r.calls, 1), show.count, ""),
        _Measure("provider_failures", lambda r: stats.proportion(r.provider_failed, r.finished), percent, "points"),
        _Measure("all_failures", lambda r: stats.proportion(r.failed, r.finished), percent, "points"),
        _Measure("ttft_p50", lambda r: stats.latency(r.first_token_buckets, 0.5), show.milliseconds, "ratio"),
        _Measure("ttft_p95", lambda r: stats.latency(r.first_token_buckets, 0.95), show.milliseconds, "ratio"),
        _Measure("duration_p50", lambda r: stats.latency(r.duration_buckets, 0.5), show.milliseconds, "ratio"),
        _Measure("duration_p95", lambda r: stats.latency(r.duration_buckets, 0.95), show.milliseconds, "ratio"),
        _Measure("cost", lambda r: _exactly(1000 * float(r.cost), r.priced), money, "ratio"),
        _Measure("input", lambda r: _exactly(r.input_tokens, r.with_usage), show.count, "ratio"),
        _Measure("cached", lambda r: _exactly(r.cache_read_input_tokens, r.input_tokens), lambda v: show.percent(v, 0), ""),
        _Measure("output", lambda r: _exactly(r.output_tokens, r.with_usage), show.count, "ratio"),
        _Measure("quality", lambda r: stats.proportion(float(r.quality_sum), r.quality_calls), percent, "points"),
    ]  # fmt: skip
    named = [m._replace(name=words(f"compare.{m.name}")) for m in found]
    return [*named, *(_check(words, name, percent) for name in _checks(arms))]


def _checks(arms: list[ArmSums]) -> list[str]:
    return sorted({name for row in arms for name, calls in row.check_calls.items() if calls})


def _check(words: Words, name: str, percent: Callable[[float], str]) -> _Measure:
    def of(row: ArmSums) -> Estimate | None:
        return stats.proportion(float(row.check_sums.get(name, 0)), row.check_calls.get(name, 0))

    return _Measure(words("compare.check", check=words.term("check", name)), of, percent, "points")


def _exactly(total: float, n: int) -> Estimate | None:
    """A mean without an interval."""
    return Estimate(total / n, nan, nan, n) if n else None


def _line(
    words: Words, measure: _Measure, arms: list[ArmSums], base: ArmSums | None
) -> tuple[Cell, ...]:
    cells = [Cell(text=measure.name)]
    for row in arms:
        found = measure.of(row)
        cells.append(_value(words, found, measure.shown))
        if row is not base:
            against = measure.of(base) if base else None
            cells.append(_difference(words, found, against, measure.compared))
    return tuple(cells)


def _value(words: Words, found: Estimate | None, shown: Callable[[float], str]) -> Cell:
    if found is None:
        return Cell(text=words.show.count(None))
    if isnan(found.low):
        return Cell(text=shown(found.value))
    return Cell(text=shown(found.value), note=f"{shown(found.low)} – {shown(found.high)}")


def _difference(
    words: Words, found: Estimate | None, against: Estimate | None, compared: str
) -> Cell:
    if found is None or against is None or not compared:
        return Cell(text="" if not compared else words.show.count(None))
    if compared == "ratio":
        return Cell(text=words.show.ratio(found.value / against.value if against.value else None))
    gap = stats.difference(found, against)
    span = words.show.points_span(gap)
    return Cell(text=words.show.points(gap.value if gap else None), note=span)


def _failures(words: Words, snapshot: Snapshot, key: str) -> BarChart:
    """The most frequent kinds of failure, as shares of each provider's calls."""
    arms = [
        row for arm in ("baseline", "candidate") for row in figures.arm_sums(snapshot, key, arm)
    ]
    arms = [row for row in arms if row.finished]
    counts = (
        (kind, n / row.finished)
        for row in arms
        for kind, n in row.failures.items()
        if kind != "cancelled"
    )
    kinds = figures.most(counts, FAILURES_SHOWN)
    series = tuple(
        Bars(
            name=words.provider(row.provider),
            color=words.color(row.provider),
            values=tuple(row.failures.get(kind, 0) / row.finished for kind in kinds),
        )
        for row in arms
    )
    return BarChart(
        title=words("failures.title"),
        categories=tuple(words.term("failure", kind) for kind in kinds),
        series=series,
        stacked=False,
        unit="%",
        note=words("failures.note") if kinds else words("failures.none"),
    )


def method_page(words: Words, snapshot: Snapshot) -> Page:
    """How the numbers are made, and what they rest on."""
    show, stored, account = words.show, snapshot.stored, snapshot.account
    data = words(
        "method.data.text",
        calls=show.count(stored.calls),
        first=show.moment(stored.first_at),
        shadow=show.count(stored.shadow_calls),
        rejected=show.count(stored.rejected),
        last=show.moment(stored.last_stored_at),
    )
    if account:
        names = ("produced", "stored", "rejected", "duplicates", "in_flight")
        counts = {name: show.count(getattr(account, name)) for name in names}
        balance = words("method.account", **counts)
    else:
        balance = words("method.account.none")
    outcomes = ("PROMOTE", "ROLLBACK", "HOLD", "BLOCKED")
    names_of = {name.lower(): words.term("verdict", name) for name in outcomes}
    money = words(
        "method.money.text", currency=snapshot.currency, unpriced=show.count(stored.unpriced)
    )
    notes = [
        Note(title=words("method.data"), paragraphs=(data, balance)),
        Note(title=words("method.saved"), paragraphs=(words("method.saved.text"),)),
        Note(title=words("method.verdict"), paragraphs=(words("method.verdict.text", **names_of),)),
        Note(title=words("method.money"), paragraphs=(money,)),
        Note(title=words("method.plan"), paragraphs=(words("method.plan.text", hash=snapshot.plan_hash[:12] or show.count(None)),)),
    ]  # fmt: skip
    return Page(kind="method", title=words("method"), sentence="", blocks=tuple(notes))
