"""The page for the board: status in a sentence, trend, money, workloads, risks, asks. Pure."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pipeline.report import figures
from pipeline.report.document import (
    ACCENT,
    MUTED,
    BarChart,
    Bars,
    Block,
    Cell,
    Column,
    Curve,
    Figure,
    Figures,
    Marker,
    Note,
    Page,
    Pair,
    Points,
    Table,
    Trend,
)
from pipeline.report.findings import asks, overall_tone, risks, verdict_tone
from pipeline.report.snapshot import Snapshot
from pipeline.report.words import Words
from pipeline.savings import Saving, total
from pipeline.verdicts.plan import Plan

PROVIDERS_SHOWN, WORKLOADS_SHOWN = 6, 8
OTHERS = "#B9C2BF"


def board(words: Words, snapshot: Snapshot) -> Page:
    """The first page; of an empty store or without a plan it says so, and the mend."""
    plan = snapshot.plan
    if not snapshot.stored.calls or plan is None:
        empty = not snapshot.stored.calls
        mend = words("empty.mend" if empty else "no_plan.mend")
        return Page(
            kind="board",
            title=words("title.no_plan") if plan is None else words("title", migration=plan.migration),
            side=words("board"),
            sentence=words("status.empty" if empty else "status.no_plan"),
            blocks=(Note(title=words("empty.title"), paragraphs=(mend,)),),
        )  # fmt: skip
    saved = figures.saved(snapshot)
    whole = total(saving for key, saving in saved.items() if key in plan.workloads)
    return Page(
        kind="board",
        title=words("title", migration=plan.migration),
        side=words("board"),
        tone=overall_tone(words, snapshot),
        sentence=sentence(words, snapshot, plan),
        blocks=(
            _figures(words, snapshot, plan, whole),
            trend(words, snapshot, words("trend.title"), note=_trend_note(words, snapshot)),
            _workloads(words, snapshot, plan, saved),
            Pair(
                left=Points(title=words("risks.title"), items=risks(words, snapshot, plan), note=words("risks.none")),
                right=Points(title=words("asks.title"), items=asks(words, snapshot, plan), note=words("asks.none")),
            ),
            _money(words, snapshot, whole),
        ),
    )  # fmt: skip


def sentence(words: Words, snapshot: Snapshot, plan: Plan) -> str:
    """Where the migration is."""
    actual, planned = figures.actual(snapshot), figures.planned(snapshot)
    done, moving = figures.done_and_moving(snapshot, plan)
    age = figures.age(snapshot)
    parts = []
    if age is not None and figures.stale(snapshot):
        parts.append(words("status.stale", age=words.age(age)))
    if actual is None:
        parts.append(words("status.quiet"))
    else:
        parts.append(words("status.moved", share=words.show.percent(actual, 0)))
        if planned is not None:
            parts.append(words("status.planned", share=words.show.percent(planned, 0)))
        parts.append(words("status.stop"))
    parts.append(words("status.done", all=len(plan.workloads), done=done, moving=moving))
    parts.append(_deadline(words, snapshot.taken_at, plan.deadline))
    return "".join(parts)


def _deadline(words: Words, now: datetime, deadline: datetime | None) -> str:
    if deadline is None:
        return words("status.no_deadline")
    days = (deadline - now).total_seconds() / 86_400
    key = "status.deadline" if days >= 0 else "status.overdue"
    return words(key, days=words.show.count(abs(days)))


def _figures(words: Words, snapshot: Snapshot, plan: Plan, whole: Saving) -> Figures:
    show, last = words.show, figures.last_stage(plan)
    deadline = (
        words("figure.deadline", at=f"{plan.deadline.astimezone(UTC):%Y-%m-%d}")
        if plan.deadline
        else words("figure.deadline.none")
    )
    return Figures(
        (
            Figure(label=words("figure.migrated"), value=show.percent(figures.actual(snapshot), 0), note=words("figure.migrated.note")),
            Figure(label=words("figure.planned"), value=show.percent(figures.planned(snapshot), 0), note=words("figure.planned.note")),
            Figure(label=words("figure.last_stage"), value=f"{last.astimezone(UTC):%Y-%m-%d}" if last else show.count(None), note=deadline),
            saved_figure(words, whole, snapshot.currency),
        )
    )  # fmt: skip


def saved_figure(words: Words, saving: Saving | None, currency: str) -> Figure:
    """What was saved, with its interval."""
    known = saving if saving and saving.calls else None
    return Figure(
        label=words("figure.saved"),
        value=words.show.money(known.saved if known else None, currency),
        note=_interval(words, known, currency) if known else "",
    )


def _interval(words: Words, saving: Saving, currency: str) -> str:
    if saving.interval is None:
        return words("figure.saved.no_interval")
    return words("figure.saved.interval", span=words.show.money_span(saving.interval, currency))


def _trend_note(words: Words, snapshot: Snapshot) -> str:
    """What the curves are; which plan is drawn, if it has been changed since."""
    first = snapshot.frozen
    if not first or not first.changes:
        return words("trend.note")
    at = first.at.astimezone(UTC)
    return words("trend.note") + words(
        "trend.note.frozen", hash=first.plan_hash[:12], at=f"{at:%Y-%m-%d}", n=first.changes
    )


def trend(
    words: Words, snapshot: Snapshot, title: str, *, workload: str = "", note: str = ""
) -> Trend:
    """The migrated share against the plan, of all workloads or one."""
    plan = snapshot.plan
    markers = [Marker(at=snapshot.taken_at, label=words("trend.report"))]
    if plan and plan.deadline:
        markers.append(Marker(at=plan.deadline.astimezone(UTC), label=words("trend.deadline")))
    changes = tuple(change.at for change in snapshot.stages if change.workload == workload)
    actual = figures.actual_curve(snapshot, workload)
    return Trend(
        title=title,
        curves=(
            Curve(name=words("trend.actual"), color=ACCENT, points=actual),
            Curve(name=words("trend.planned"), color=MUTED, points=figures.planned_curve(snapshot, workload), planned=True),
        ),
        markers=tuple(markers),
        changes=changes,
        changes_name=words("trend.changes") if changes else "",
        note=note if actual else words("trend.empty"),
    )  # fmt: skip


def _workloads(words: Words, snapshot: Snapshot, plan: Plan, saved: dict[str, Saving]) -> Table:
    columns = (
        Column(head=words("workloads.workload"), width=2.1),
        Column(head=words("workloads.verdict"), width=3.6),
        Column(head=words("workloads.stage"), width=1.5),
        Column(head=words("workloads.planned"), width=0.8, number=True),
        Column(head=words("workloads.actual"), width=0.8, number=True),
        Column(head=words("workloads.next"), width=1.7),
        Column(head=words("workloads.saved"), width=1.5, number=True),
    )
    keys = list(plan.workloads)
    if len(keys) > WORKLOADS_SHOWN:
        keys = sorted(keys, key=lambda key: figures.badness(snapshot, key))[:WORKLOADS_SHOWN]
    counts = {"n": len(keys), "all": len(plan.workloads)}
    return Table(
        title=words("workloads.title"),
        columns=columns,
        rows=tuple(_workload(words, snapshot, plan, key, saved.get(key)) for key in keys),
        note=words("workloads.more", **counts) if len(keys) < len(plan.workloads) else "",
    )


def _workload(
    words: Words, snapshot: Snapshot, plan: Plan, key: str, saving: Saving | None
) -> tuple[Cell, ...]:
    show, work = words.show, plan.workloads[key]
    verdict = figures.verdict_of(snapshot, key)
    stage = work.stage_at(figures.ms(snapshot.taken_at))
    coming = figures.coming(work, snapshot.taken_at)
    money = saved_figure(words, saving, snapshot.currency)
    span = saving.interval if saving and saving.calls else None
    return (
        Cell(text=words.workload(key), note=work.owner or words("figure.no_owner"), strong=True),
        Cell(
            text="",
            tone=verdict_tone(words, verdict.verdict if verdict else ""),
            note=words.reason(verdict.reason_en, verdict.reason_zh) if verdict else "",
        ),
        Cell(text=stage.name if stage else words("figure.not_begun")),
        Cell(text=show.percent(figures.planned(snapshot, key), 0)),
        Cell(text=show.percent(figures.actual(snapshot, key), 0)),
        Cell(
            text=coming.name if coming else words("figure.last"),
            note=f"{coming.starts.astimezone(UTC):%Y-%m-%d %H:%M}" if coming else "",
        ),
        Cell(text=money.value, note=show.money_span(span, snapshot.currency) if span else ""),
    )


def _money(words: Words, snapshot: Snapshot, whole: Saving) -> Block:
    show, currency = words.show, snapshot.currency
    known = whole if whole.calls else None
    share = known.saved / known.baseline_would_be if known and known.baseline_would_be else None
    calls = words("money.calls", n=show.count(whole.calls)) if known else ""
    rows = (
        (Cell(text=words("money.paid"), note=calls), Cell(text=show.money(known.paid if known else None, currency))),
        (Cell(text=words("money.would_be")), Cell(text=show.money(known.baseline_would_be if known else None, currency))),
        (
            Cell(
                text=words("money.saved"), strong=True,
                note=words("figure.saved.share", share=show.percent(float(share), 0)) if share is not None else "",
            ),
            Cell(text=show.money(known.saved if known else None, currency), strong=True, note=_interval(words, known, currency) if known else ""),
        ),
        _month(words, snapshot),
    )  # fmt: skip
    table = Table(
        title=words("money.title"),
        columns=(Column(head=words("money.item", currency=currency), width=3),
                 Column(head=words("money.amount"), width=2, number=True)),
        rows=rows,
        note=_money_note(words, snapshot, whole),
    )  # fmt: skip
    return Pair(left=table, right=_costs(words, snapshot), ratio=0.5)


def _month(words: Words, snapshot: Snapshot) -> tuple[Cell, ...]:
    show, currency, bill = words.show, snapshot.currency, figures.month_bill(snapshot)
    missing = figures.missing_rates(snapshot)
    note = words("money.month.no_rate", of=words.join(missing)) if missing else ""
    if bill and (bill["granted"] or bill["covered"] or bill["fee"]):
        amounts = {
            "list": bill["list_cost"], "granted": bill["granted"],
            "covered": bill["covered"], "fee": bill["fee"],
        }  # fmt: skip
        values = {name: show.money(amount, currency) for name, amount in amounts.items()}
        note = words("money.month.list", **values)
    net = show.money(bill["net_cost"] if bill else None, currency)
    return Cell(text=words("money.month"), note=note), Cell(text=net)


def _money_note(words: Words, snapshot: Snapshot, whole: Saving) -> str:
    show, parts = words.show, []
    if whole.left_out:
        parts.append(words("money.left_out", n=show.count(whole.left_out)))
    if snapshot.tokens_left:
        left = [f"{words.provider(p)} {show.count(n)}" for p, n in snapshot.tokens_left.items()]
        parts.append(words("money.tokens_left", of=words.join(left)))
    for rate in snapshot.rates:
        values = {
            "from": rate.currency,
            "to": snapshot.currency,
            "rate": f"{rate.rate:.4f}",
            "day": f"{rate.day}",
        }
        said = words("money.rate", **values)
        parts.append(said + (words("money.rate.estimated") if rate.estimated else ""))  # fmt: skip
    return ("；" if words.language == "zh" else "; ").join(parts)


def _costs(words: Words, snapshot: Snapshot) -> BarChart:
    """Cost per day, the costliest providers by name."""
    named = figures.most(
        ((row.provider, float(row.cost)) for row in snapshot.day_costs), PROVIDERS_SHOWN
    )
    known = [row.day for row in snapshot.day_costs]
    span = (max(known) - min(known)).days + 1 if known else 0
    days = [min(known) + timedelta(days=n) for n in range(span)]  # those without calls too
    sums: dict[tuple[str, str], Decimal] = {}
    for row in snapshot.day_costs:
        key = (row.provider if row.provider in named else "", f"{row.day:%m-%d}")
        sums[key] = sums.get(key, Decimal(0)) + row.cost
    groups = [*named, *([""] if any(provider == "" for provider, _ in sums) else [])]
    categories = tuple(f"{day:%m-%d}" for day in days)
    series = tuple(
        Bars(
            name=words.provider(provider) if provider else words("costs.others"),
            color=words.color(provider) if provider else OTHERS,
            values=tuple(_number(sums.get((provider, day))) for day in categories),
        )
        for provider in groups
    )
    return BarChart(
        title=words("costs.title", currency=snapshot.currency),
        categories=categories,
        series=series,
        stacked=True,
        unit=snapshot.currency,
        note=words("costs.note"),
    )


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
