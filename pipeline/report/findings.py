"""Risks and asks: what the data says must be minded and decided. Nothing is typed by hand. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pipeline import stats
from pipeline.report import figures
from pipeline.report.document import Point, Tone
from pipeline.report.figures import BEHIND
from pipeline.report.snapshot import Forecast, Gate, Snapshot, Verdict
from pipeline.report.words import Words
from pipeline.verdicts.plan import Plan, Workload

GOOD, WARN, BAD, OPEN, NEUTRAL = "#0B6E6E", "#B7791F", "#B3261E", "#5B4B8A", "#5B6663"
_VERDICTS = {
    "PROMOTE": ("▲", GOOD),
    "HOLD": ("■", WARN),
    "ROLLBACK": ("▼", BAD),
    "BLOCKED": ("◆", OPEN),
}
_STATES = {"passed": ("▲", GOOD), "open": ("■", WARN), "harmed": ("▼", BAD)}
MOST_SHOWN = 6
UNPRICED_MATTERS = 0.005  # of all calls


def verdict_tone(words: Words, verdict: str) -> Tone:
    """A verdict's shape, word and colour; "" is none yet."""
    mark, color = _VERDICTS.get(verdict, ("○", NEUTRAL))
    return Tone(mark=mark, word=words.term("verdict", verdict or "none"), color=color)


def gate_tone(words: Words, state: str) -> Tone:
    """A gate's state as shape, word and colour."""
    mark, color = _STATES.get(state, ("○", NEUTRAL))
    return Tone(mark=mark, word=words.term("state", state), color=color)


def overall_tone(words: Words, snapshot: Snapshot) -> Tone:
    """The whole migration's state: the worst there is to say."""
    found = {verdict.verdict for verdict in snapshot.verdicts}
    judged = {verdict.workload for verdict in snapshot.verdicts}
    actual, planned = figures.actual(snapshot), figures.planned(snapshot)
    if found & {"ROLLBACK", "BLOCKED"}:
        return Tone(mark="▼", word=words("tone.action"), color=BAD)
    if actual is None or planned is None or figures.stale(snapshot):
        return Tone(mark="○", word=words("tone.unknown"), color=NEUTRAL)
    if planned - actual > BEHIND:
        return Tone(mark="■", word=words("tone.behind"), color=WARN)
    if snapshot.plan and snapshot.plan.workloads.keys() - judged:
        return Tone(mark="○", word=words("tone.unproven"), color=NEUTRAL)
    return Tone(mark="▲", word=words("tone.on_plan"), color=GOOD)


def risks(words: Words, snapshot: Snapshot, plan: Plan) -> tuple[Point, ...]:
    """What may go wrong, worst first."""
    found = [
        *_stale(words, snapshot),
        *_account(words, snapshot),
        *_bad_verdicts(words, snapshot, plan),
        *_evidence(words, snapshot, plan),
        *_failures(words, snapshot, plan),
        *_behind(words, snapshot, plan),
        *_late(words, snapshot, plan),
        *_unpriced(words, snapshot),
        *_unjudged(words, snapshot, plan),
    ]
    return _few(words, found)


def asks(words: Words, snapshot: Snapshot, plan: Plan) -> tuple[Point, ...]:
    """What somebody has to decide or do, most urgent first."""
    found = [point for key in plan.workloads for point in _ask(words, snapshot, plan, key)]
    found += [
        Point(head=words("ask.owner", workload=words.workload(key)), text=words("ask.owner.text"))
        for key, work in plan.workloads.items()
        if not work.owner
    ]
    if plan.deadline is None:
        found.append(Point(head=words("ask.deadline"), text=words("ask.deadline.text")))
    for row in snapshot.unpriced[:1]:
        values = {"n": words.show.count(row.calls), "provider": words.provider(row.provider)}
        head = words("ask.price", model=row.model)
        found.append(Point(head=head, text=words("ask.price.text", **values)))
    return _few(words, sorted(found, key=lambda point: _urgency(point.tone)))


def _urgency(tone: Tone | None) -> int:
    order = [BAD, OPEN, GOOD, WARN]
    return order.index(tone.color) if tone and tone.color in order else len(order)


def _few(words: Words, found: list[Point]) -> tuple[Point, ...]:
    """No more than fit the page; how many are left out is said."""
    if len(found) <= MOST_SHOWN:
        return tuple(found)
    rest = len(found) - MOST_SHOWN + 1
    return (*found[: MOST_SHOWN - 1], Point(head="", text=words("risk.more", n=rest)))


def _warning(words: Words, head: str, text: str, color: str = WARN) -> Point:
    mark = "▼" if color == BAD else "■"
    return Point(head=head, text=text, tone=Tone(mark=mark, word="", color=color))


def _about(words: Words, workload: str, what: str) -> str:
    gap = "" if words.language == "zh" else " "
    return f"{words.workload(workload)}{gap}{what}"


def _stale(words: Words, snapshot: Snapshot) -> Iterator[Point]:
    age = figures.age(snapshot)
    if age is not None and figures.stale(snapshot):
        yield _warning(words, words("risk.stale"), words("risk.stale.text", age=words.age(age)))


def _account(words: Words, snapshot: Snapshot) -> Iterator[Point]:
    account = snapshot.account
    if account and not account.balanced:
        text = words("risk.account.text", n=words.show.count(-account.in_flight))
        yield _warning(words, words("risk.account"), text, BAD)


def _bad_verdicts(words: Words, snapshot: Snapshot, plan: Plan) -> Iterator[Point]:
    for key in plan.workloads:
        verdict = figures.verdict_of(snapshot, key)
        if verdict and verdict.verdict in ("ROLLBACK", "BLOCKED"):
            head = _about(words, key, words(f"risk.{verdict.verdict}"))
            reason = words.reason(verdict.reason_en, verdict.reason_zh)
            tone = verdict_tone(words, verdict.verdict)
            yield Point(head=head, text=reason, tone=tone)


def _evidence(words: Words, snapshot: Snapshot, plan: Plan) -> Iterator[Point]:
    for key in plan.workloads:
        verdict = figures.verdict_of(snapshot, key)
        gate = _slowest(verdict) if verdict and verdict.verdict == "HOLD" else None
        if verdict is None or gate is None or gate.forecast is None:
            continue
        ready = _ready(verdict, gate.forecast)
        if gate.forecast.conversations_p50 is None:
            text = words("risk.evidence_never.text", gate=words.gate(gate.gate))
            yield _warning(words, _about(words, key, words("risk.evidence_never")), text)
        elif plan.deadline and ready and ready > plan.deadline:
            text = words("risk.evidence_late.text", at=words.show.moment(ready))
            yield _warning(words, _about(words, key, words("risk.evidence_late")), text)


def _ready(verdict: Verdict, forecast: Forecast) -> datetime | None:
    """When the evidence is expected to be there; None if no pace can be told."""
    days = forecast.days_p50
    return None if days is None else verdict.at + timedelta(days=min(days, 36_500))


def _slowest(verdict: Verdict) -> Gate | None:
    """The open gate that will take longest; one that is not expected to pass at all comes first."""
    waiting = [(g, g.forecast) for g in verdict.gates if g.state == "open" and g.forecast]
    longest = max(
        waiting,
        key=lambda pair: float("inf") if pair[1].conversations_p50 is None else pair[1].conversations_p50,
        default=None,
    )  # fmt: skip
    return longest[0] if longest else None


def _failures(words: Words, snapshot: Snapshot, plan: Plan) -> Iterator[Point]:
    for key in plan.workloads:
        base = next(iter(figures.arm_sums(snapshot, key, "baseline")), None)
        for row in figures.arm_sums(snapshot, key, "candidate"):
            gap = base and stats.difference(
                stats.proportion(row.provider_failed, row.finished),
                stats.proportion(base.provider_failed, base.finished),
            )
            if base and gap and gap.low > 0:
                text = words(
                    "risk.failures.text",
                    provider=words.provider(row.provider),
                    baseline=words.provider(base.provider),
                    difference=words.show.points(gap.value),
                    span=words.show.points_span(gap),
                )
                yield _warning(words, _about(words, key, words("risk.failures")), text)  # fmt: skip


def _behind(words: Words, snapshot: Snapshot, plan: Plan) -> Iterator[Point]:
    for key in plan.workloads:
        actual, planned = figures.actual(snapshot, key), figures.planned(snapshot, key)
        if actual is not None and planned is not None and planned - actual > BEHIND:
            show = words.show
            values = {"actual": show.percent(actual, 0), "planned": show.percent(planned, 0)}
            head = _about(words, key, words("risk.behind"))
            yield _warning(words, head, words("risk.behind.text", **values))


def _late(words: Words, snapshot: Snapshot, plan: Plan) -> Iterator[Point]:
    last = figures.last_stage(plan)
    if plan.deadline and last and last > plan.deadline:
        text = words("risk.late.text", at=words.show.moment(last.astimezone(UTC)))
        yield _warning(words, words("risk.late"), text)


def _unpriced(words: Words, snapshot: Snapshot) -> Iterator[Point]:
    stored = snapshot.stored
    share = stored.unpriced / stored.calls if stored.calls else 0.0
    if share > UNPRICED_MATTERS:
        show = words.show
        values = {"n": show.count(stored.unpriced), "share": show.percent(share)}
        yield _warning(words, words("risk.unpriced"), words("risk.unpriced.text", **values))


def _unjudged(words: Words, snapshot: Snapshot, plan: Plan) -> Iterator[Point]:
    names = [
        words.workload(key) for key in plan.workloads if figures.verdict_of(snapshot, key) is None
    ]
    if names:
        text = words("risk.no_verdict.text", of=words.join(names))
        yield _warning(words, words("risk.no_verdict"), text)


def _ask(words: Words, snapshot: Snapshot, plan: Plan, key: str) -> Iterator[Point]:
    work, verdict = plan.workloads[key], figures.verdict_of(snapshot, key)
    if verdict is None:
        return
    tone = verdict_tone(words, verdict.verdict)
    baseline = words.provider(plan.endpoints[plan.baseline].provider)
    name, owner = words.workload(key), work.owner or words("figure.no_owner")
    if verdict.verdict == "ROLLBACK":
        text = words("ask.back.text", owner=owner, baseline=baseline)
        yield Point(head=words("ask.back", workload=name), text=text, tone=tone)
    elif verdict.verdict == "BLOCKED":
        reason = words.reason(verdict.reason_en, verdict.reason_zh)
        text = words("ask.unblock.text", owner=owner, reason=reason) if work.owner else reason
        yield Point(head=words("ask.unblock", workload=name), text=text, tone=tone)
    elif verdict.verdict == "PROMOTE":
        yield _approve(words, snapshot, work, name, baseline, tone)
    elif (gate := _slowest(verdict)) and gate.forecast:
        yield from _wait(words, plan, verdict, gate.forecast, name)


def _wait(
    words: Words, plan: Plan, verdict: Verdict, forecast: Forecast, name: str
) -> Iterator[Point]:
    """Asked only if the evidence will not be there in time."""
    ready = _ready(verdict, forecast)
    if plan.deadline and ready and ready > plan.deadline:
        needed = words.show.count(forecast.conversations_p50)
        text = words("ask.time.text", n=needed, at=words.show.moment(ready))
        tone = verdict_tone(words, verdict.verdict)
        yield Point(head=words("ask.time", workload=name), text=text, tone=tone)


def _approve(
    words: Words, snapshot: Snapshot, work: Workload, name: str, baseline: str, tone: Tone
) -> Point:
    stage = figures.coming(work, snapshot.taken_at)
    if stage is None:
        text = words("ask.finish.text", baseline=baseline)
        return Point(head=words("ask.finish", workload=name), text=text, tone=tone)
    share = words.show.percent(stage.migrated, 0)
    at = words.show.moment(stage.starts.astimezone(UTC))
    text = words("ask.approve.text", stage=stage.name, share=share, at=at)
    return Point(head=words("ask.approve", workload=name), text=text, tone=tone)
