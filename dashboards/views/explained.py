"""Compare, in detail: what explains a saving, what deviates, and parts of the traffic side by side."""

from typing import Any

import streamlit as st
from markupsafe import Markup

from dashboards import charts, controls, costs, markup, queries, show
from dashboards.figures import Scope, Slice, Sums
from dashboards.markup import joined
from dashboards.names import check_asks, side_color, side_name
from dashboards.sides import Side
from dashboards.views.parts import card, csv_button, draw, hinted, viewer_offset
from dashboards.words import language, t, term, theme
from pipeline import stats
from pipeline.stats import Estimate

MINI = Markup(
    '<section class="mini"><h4 title="{}">{}</h4>{}<footer><span>{}</span><span>100 %</span></footer></section>'
)
MINI_LINE = Markup(
    '<div><i class="dot" style="background:{}"></i>{}<span title="{}">{}</span></div>'
)
SLICES = ("model", "hour", "language", "tool", "stage")


def cost(scope: Scope, baseline: Sums | None, sides: list[Sums]) -> None:
    """What a call costs, by kind of tokens; and of the difference, what prices make and what counts make."""
    with card("compare.explained"):
        found = {side: b for side, b in queries.bills(scope).items() if b.calls}
        shown = [s.side for s in sides if s.side in found]
        if not shown:
            st.caption(t("compare.no_bills"))
            return
        parts = [
            {"name": side_name(side, language()), "kind": t(f"kind.{kind}"), "order": n, "cost": float(1000 * found[side].per_call(kind))}
            for side in shown
            for n, kind in enumerate(costs.KINDS)
        ]  # fmt: skip
        draw(charts.stacked(parts, scope.currency, theme()))
        rows = effect_rows(scope, baseline.side, shown, found) if baseline else []
        if baseline and rows:
            st.html(_effects(rows, shown, scope.currency))
            st.html(_ways(baseline.side, shown, found, scope.currency))
        counted = " · ".join(
            f"{side_name(side, language())} {show.count(found[side].calls)}" for side in shown
        )
        left_out = show.count(sum(found[side].left_out for side in shown))
        st.caption(t("compare.explained.rests", of=counted, n=left_out))
        csv_button(rows, f"cost-{scope.workload}.csv", "cost_csv")


def effect_rows(
    scope: Scope, baseline: Side, shown: list[Side], found: dict[Side, costs.Bills]
) -> list[dict[str, Any]]:
    """Per candidate and kind of tokens, cost of 1,000 calls on both sides and the two effects."""
    if baseline not in found:
        return []
    return [
        {"workload": scope.workload, **told(side), "kind": e.kind, "baseline_per_1000": 1000 * e.baseline,
         "candidate_per_1000": 1000 * e.candidate, "by_price": 1000 * e.price, "by_tokens": 1000 * e.tokens,
         "currency": scope.currency, "calls_baseline": found[baseline].calls, "calls_candidate": found[side].calls}
        for side in shown
        if side != baseline
        for e in costs.effects(found[baseline], found[side])
    ]  # fmt: skip


def told(side: Side) -> dict[str, str]:
    """A side's columns in a CSV file; the model is "" where the provider alone tells it."""
    return {"provider": side.provider, "model": side.model}


def _effects(rows: list[dict[str, Any]], shown: list[Side], currency: str) -> Markup:
    heads = [hinted("compare.effect.kind"), *(markup.HINT.format(t(f"compare.effect.{k}.help"), t(f"compare.effect.{k}"))
             for k in ("baseline", "candidate", "price", "tokens"))]  # fmt: skip
    lines = []
    for side in shown:
        mine = [row for row in rows if told(side).items() <= row.items()]
        if not mine:
            continue
        amounts = ("baseline_per_1000", "candidate_per_1000", "by_price", "by_tokens")
        whole = [sum(row[name] for row in mine) for name in amounts]
        who = markup.side(side, language(), theme())
        lines.append(
            [Markup("<b>{}</b>").format(who), *(_bold(show.money(x, currency)) for x in whole)]
        )
        lines += [
            [
                Markup('<span class="sub">{}</span>').format(t(f"kind.{row['kind']}")),
                *(show.money(row[name], currency) for name in amounts),
            ]
            for row in mine
        ]
    return markup.table(heads, lines)


def _ways(
    baseline: Side, shown: list[Side], found: dict[Side, costs.Bills], currency: str
) -> Markup:
    """A canary's cache is cold: its cost as billed, without cache, and at the baseline's hit rate."""
    keys = ("billed", "uncached", "projected")
    heads = [
        hinted("compare.ways"),
        *(markup.HINT.format(t(f"compare.ways.{k}.help"), t(f"compare.ways.{k}")) for k in keys),
    ]
    lines = []
    for side in shown:
        ways = costs.three_ways(found[baseline], found[side])
        amounts = (None if ways[k] is None else 1000 * ways[k] for k in keys)
        lines.append(
            [
                markup.side(side, language(), theme()),
                *(show.money(x, currency) for x in amounts),
            ]
        )
    return markup.table(heads, lines)


def _bold(text: str) -> Markup:
    return Markup("<b>{}</b>").format(text)


def checks(sides: list[Sums]) -> None:
    """Each quality check in a small picture of its own."""
    with card("compare.checks"):
        names = sorted({name for s in sides for name in s.check_calls})
        if not names:
            st.caption(t("nothing_to_draw"))
            return
        st.html(
            Markup('<div class="minis">{}</div>').format(
                joined(_mini(name, sides) for name in names)
            )
        )


def _mini(name: str, sides: list[Sums]) -> Markup:
    found = [(s, e) for s in sides if (e := s.check(name))]
    lowest = min(e.low for _, e in found)
    base = 0.0 if lowest < 0.5 else 0.5 if lowest < 0.8 else 0.8 if lowest < 0.95 else 0.95
    lines = joined(_mini_line(s, e, base) for s, e in found)
    return MINI.format(
        check_asks(name, language()), term("check", name), lines, show.percent(base, 0)
    )


def _mini_line(s: Sums, e: Estimate, base: float) -> Markup:
    color = side_color(s.side, theme())
    low, value, high = ((x - base) / (1 - base) for x in (e.low, e.value, e.high))
    tip = f"{side_name(s.side, language())}: {show.span(e, lambda v: show.percent(v, 2))} · n = {show.count(e.n)}"
    return MINI_LINE.format(
        color, markup.track(low, value, high, color), tip, show.percent(e.value)
    )


def conformance(scope: Scope, sides: list[Sums]) -> None:
    """Which deviations from the protocol each provider shows, and how often; each leads to its calls."""
    with card("compare.conformance"):
        names = sorted(
            {name for s in sides for name in s.findings},
            key=lambda n: -sum(s.findings.get(n, 0) for s in sides),
        )
        heads = [
            hinted("compare.finding"),
            *(markup.side(s.side, language(), theme()) for s in sides),
        ]
        rate = [hinted("compare.conformance.rate"), *(_rate(s) for s in sides)]
        lines = [
            rate,
            *(
                [term("finding", name), *(_finding(scope, s, name) for s in sides)]
                for name in names
            ),
        ]
        st.html(markup.table(heads, lines))
        if not names:
            st.caption(t("compare.no_findings"))
        csv_button(finding_rows(scope, sides), f"conformance-{scope.workload}.csv", "finding_csv")


def _rate(s: Sums) -> Markup:
    found = s.check("protocol_conformance")
    if found is None:
        return markup.UNKNOWN
    return markup.with_small(
        show.percent(found.value, 2),
        f"{show.span(found, lambda v: show.percent(v, 2))} · n = {show.count(found.n)}",
    )


def _finding(scope: Scope, s: Sums, name: str) -> Markup:
    calls = s.findings.get(name, 0)
    if not calls:
        return Markup("0")
    words = markup.with_small(
        show.percent(calls / s.calls, 2), t("unit.calls", n=show.count(calls))
    )
    return calls_link(words, scope, s.side, finding=name)


def finding_rows(scope: Scope, sides: list[Sums]) -> list[dict[str, Any]]:
    """Calls with each finding, as shares of all calls with their Wilson intervals."""
    rows = []
    for s in sides:
        for name, calls in s.findings.items():
            e = stats.proportion(calls, s.calls)
            rows.append({"workload": scope.workload, **told(s.side), "finding": name, "calls": calls, "of": s.calls,
                         "share": e and e.value, "low": e and e.low, "high": e and e.high})  # fmt: skip
    return rows


def taxonomy(scope: Scope, sides: list[Sums]) -> None:
    """Failure classes side by side; each number leads to its calls."""
    with card("compare.taxonomy"):
        counts = {k: sum(s.failures.get(k, 0) for s in sides) for s_ in sides for k in s_.failures}
        if not counts:
            st.caption(t("live.no_failures"))
            return
        heads = [
            hinted("failure"),
            *(markup.side(s.side, language(), theme()) for s in sides),
        ]
        lines = [
            [term("failure", kind), *(_failures(scope, s, kind) for s in sides)]
            for kind in sorted(counts, key=lambda kind: -counts[kind])
        ]
        st.html(markup.table(heads, lines))
        csv_button(taxonomy_rows(scope, sides), f"failures-{scope.workload}.csv", "failures_csv")


def _failures(scope: Scope, s: Sums, kind: str) -> Markup:
    calls = s.failures.get(kind, 0)
    if not calls:
        return Markup("0")
    words = markup.with_small(
        show.percent(calls / s.calls, 2), t("unit.calls", n=show.count(calls))
    )
    return calls_link(words, scope, s.side, failure=kind)


def taxonomy_rows(scope: Scope, sides: list[Sums]) -> list[dict[str, Any]]:
    """Calls that failed in each way, as shares of all calls with their Wilson intervals."""
    rows = []
    for s in sides:
        for kind, calls in s.failures.items():
            e = stats.proportion(calls, s.calls)
            rows.append({"workload": scope.workload, **told(s.side), "failure": kind, "calls": calls, "of": s.calls,
                         "share": e and e.value, "low": e and e.low, "high": e and e.high})  # fmt: skip
    return rows


def calls_link(words: Markup | str, scope: Scope, side: Side, **filters: str) -> Markup:
    """The calls behind a number."""
    seconds = next(key for key, value in queries.RANGES.items() if value == scope.seconds)
    asked = {
        "workload": scope.workload,
        "provider": side.provider,
        "model": queries.apart(scope.workload).model_of(side) if side.model else "",
        "range": seconds,
        "lang": st.query_params.get("lang", ""),
    }
    return markup.link(words, "calls", **(asked | filters))


def parts(scope: Scope, sides: list[Sums]) -> None:
    """The same figures by model, hour, language, tool or stage."""
    with card("compare.slices"):
        by = controls.in_url(
            "by", list(SLICES), SLICES[0], st.segmented_control,
            label=t("compare.slices"), format_func=lambda key: t(f"slice.{key}"), label_visibility="collapsed",
        )  # fmt: skip
        shown = {s.side for s in sides}
        parts_ = queries.slices(scope, by, viewer_offset(), queries.apart(scope.workload))
        found = [s for s in parts_ if s.side in shown]
        heads = [
            markup.HINT.format(t(f"slice.{by}.help"), t(f"slice.{by}")),
            *(
                markup.HINT.format(t(f"slice.{k}.help"), t(f"slice.{k}"))
                for k in ("calls", "failures", "ttft", "duration", "quality")
            ),
        ]
        st.html(markup.table(heads, [_slice(scope, s, by) for s in found]))
        csv_button(slice_rows(scope, by, found), f"by-{by}-{scope.workload}.csv", "slice_csv")


def slice_name(name: str, by: str) -> str:
    """What people call a part; one without a name is unknown, or the answers that call no tool."""
    if by == "language" and name:
        return term("tongue", name)
    return name or (t("slice.no_tool") if by == "tool" else show.UNKNOWN)


def _slice(scope: Scope, s: Slice, by: str) -> list[Markup | str]:
    return [
        Markup("{}<small>{}</small>").format(
            slice_name(s.slice, by), markup.side(s.side, language(), theme())
        ),
        calls_link(show.count(s.calls), scope, s.side, **({by: s.slice} if by == "model" else {})),
        markup.UNKNOWN if by == "tool" and s.slice else _rate_cell(s.failure_rate),
        _latency_cell(s.first_token_buckets),
        _latency_cell(s.duration_buckets),
        _rate_cell(s.quality),
    ]


def _rate_cell(e: Estimate | None) -> Markup:
    return (
        markup.with_small(show.percent(e.value, 2), show.span(e, show.percent))
        if e
        else markup.UNKNOWN
    )


def _latency_cell(buckets: dict[int, int]) -> Markup:
    p50, p95 = stats.quantile(buckets, 0.5), stats.quantile(buckets, 0.95)
    return (
        markup.with_small(show.milliseconds(p50), f"p95 {show.milliseconds(p95)}")
        if p50
        else markup.UNKNOWN
    )


def slice_rows(scope: Scope, by: str, found: list[Slice]) -> list[dict[str, Any]]:
    """The parts as plain numbers with intervals: shares in 0..1, times in ms."""
    rows = []
    for s in found:
        row: dict[str, Any] = {
            "workload": scope.workload,
            **told(s.side),
            by: s.slice,
            "calls": s.calls,
        }
        for name, e in {"failure_rate": s.failure_rate, "quality": s.quality,
                        "first_token_p50_ms": stats.latency(s.first_token_buckets, 0.5),
                        "duration_p50_ms": stats.latency(s.duration_buckets, 0.5),
                        "duration_p95_ms": stats.latency(s.duration_buckets, 0.95)}.items():  # fmt: skip
            row |= {name: e and e.value, f"{name}_low": e and e.low, f"{name}_high": e and e.high}
        rows.append(row)
    return rows
