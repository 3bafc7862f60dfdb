"""Pipeline: is everything accounted for, and what could not be used or priced?"""

import json

import streamlit as st
from markupsafe import Markup

from dashboards import access, charts, controls, markup, queries, show, state
from dashboards.figures import Account
from dashboards.markup import PILL, joined
from dashboards.names import short_name
from dashboards.queries import RANGES
from dashboards.views.feed import retry_label
from dashboards.views.parts import card, draw, hinted, viewer_offset
from dashboards.words import age, language, t, term, theme

FIGURE = Markup('<div title="{}"><b>{}</b><span>{}</span></div>')
QUIET_S = 60  # a worker that stored nothing for so long is said to be quiet
TONES = {"balanced": "good", "in_flight": "good", "settling": "plain", "unbalanced": "bad"}


@st.fragment(run_every=2)
def page() -> None:
    """Everything is drawn again every two seconds."""
    with state.store_needed():
        _account(queries.accounts())
        left, right = st.columns(2)
        with left, card("pipeline.freshness"):
            _freshness()
        with right, card("pipeline.throughput"):
            _throughput()
        left, right = st.columns(2)
        with left, card("pipeline.workers"):
            _workers()
        with right, card("pipeline.audits"):
            _audits()
        with card("pipeline.partitions"):
            _partitions()
        with card("pipeline.rejected"):
            _rejected()
        left, right = st.columns(2)
        with left, card("pipeline.unpriced"):
            _unpriced()
        with right, card("pipeline.doubts"):
            _doubts()


def _account(accounts: list[Account]) -> None:
    with card("pipeline.account"):
        if not accounts or not accounts[0].current:
            st.caption(t("pipeline.no_partitions"))
        else:
            _one_account(accounts[0])
        if gone := [account for account in accounts if not account.current and account.produced]:
            with st.expander(t("pipeline.old_accounts", n=len(gone))):
                for account in gone:
                    _one_account(account)


def _one_account(account: Account) -> None:
    st.html(_verdict(account) + _figures([
        ("produced", account.produced), ("stored", account.stored), ("rejected", account.rejected),
        ("duplicates", account.duplicates), ("ignored", account.ignored), ("in_flight", max(0, account.in_flight)), ("waiting", account.waiting),
    ]))  # fmt: skip
    if account.twice:
        st.caption(t("pipeline.twice", n=show.count(account.twice)))
    if account.dropped:
        st.warning(t("pipeline.dropped", n=show.count(account.dropped)), icon=":material/warning:")


def _verdict(account: Account) -> Markup:
    if account.produced == 0:
        return PILL.format("empty", t("pipeline.uncounted"))
    words = t(f"pipeline.account.{account.state}", n=show.count(abs(account.in_flight)))
    return PILL.format(TONES[account.state], words)


def _figures(pairs: list[tuple[str, int]]) -> Markup:
    return Markup('<div class="figures">{}</div>').format(
        joined(
            FIGURE.format(t(f"pipeline.{key}.help"), show.count(value), t(f"pipeline.{key}"))
            for key, value in pairs
        )
    )


def _freshness() -> None:
    found = queries.freshness()
    offset = viewer_offset()
    st.html(markup.facts([
        (hinted("pipeline.age"), age(found.age_s)),
        (hinted("pipeline.delay_p50"), show.milliseconds(found.p50_ms) if found.calls else show.UNKNOWN),
        (hinted("pipeline.delay_p99"), show.milliseconds(found.p99_ms) if found.calls else show.UNKNOWN),
        (hinted("pipeline.rate"), show.pace(found.calls_per_second)),
        (hinted("pipeline.last_batch"), show.instant(found.last_batch_at, offset)),
        (hinted("pipeline.last_call"), show.instant(found.last_stored_at, offset)),
    ]))  # fmt: skip


def _throughput() -> None:
    rows = queries.ask("throughput")
    draw(charts.bars(rows, charts.ACCENT[theme()])) if rows else st.caption(t("nothing_to_draw"))


def _partitions() -> None:
    found = queries.ask("partitions")
    if not found:
        st.caption(t("pipeline.no_partitions"))
        return
    live = [row for row in found if row["current"]]
    st.html(_partition_table(live))
    if gone := [row for row in found if not row["current"]]:
        with st.expander(t("pipeline.old_clusters", n=len(gone))):
            st.html(_partition_table(gone))


def _partition_table(rows: list[dict[str, object]]) -> Markup:
    counted = ("produced", "read", "in_flight", "stored", "rejected", "duplicates", "gaps")
    heads = [
        hinted("pipeline.partition"),
        *(hinted(f"pipeline.messages.{name}") for name in counted),
        hinted("pipeline.state"),
    ]
    return markup.table(
        heads,
        (
            [
                markup.with_small(f"{row['topic']}/{row['kafka_partition']}", str(row["cluster"])),
                *(show.count(int(str(row[name]))) for name in counted),
                PILL.format("bad", t("pipeline.gap"))
                if row["gaps"]
                else PILL.format("good", t("pipeline.whole")),
            ]
            for row in rows
        ),
    )


def _workers() -> None:
    found = queries.ask("workers")
    if not found:
        st.caption(t("pipeline.no_workers"))
        return
    now = queries.bounds().now
    heads = [
        hinted(f"pipeline.workers.{key}")
        for key in ("worker", "last", "batches", "calls", "partitions")
    ]
    lines = []
    for row in found:
        idle_s = max(0.0, (now - row["last_at"]).total_seconds())
        last = PILL.format("good" if idle_s < QUIET_S else "warn", age(idle_s))
        lines.append(
            [
                row["worker"],
                last,
                show.count(row["batches"]),
                show.count(row["calls"]),
                show.count(row["partitions"]),
            ]
        )
    st.html(markup.table(heads, lines))


def _audits() -> None:
    found = queries.ask_if_there("audits")
    if not found:
        st.caption(t("pipeline.no_audits"))
        return
    lines = [
        [
            PILL.format("good bare" if row["ok"] else "bad bare", f"✓ {t('pipeline.audits.ok')}" if row["ok"] else f"✗ {t('pipeline.audits.differs')}"),
            markup.with_small(show.moment(row["at"], viewer_offset()), row["first_discrepancy"]),
            show.count(row["batches"]), show.count(row["calls"]), show.count(row["rejected"]),
        ]
        for row in found
    ]  # fmt: skip
    heads = [
        hinted(f"pipeline.audits.{key}") for key in ("result", "at", "batches", "calls", "rejected")
    ]
    st.html(markup.table(heads, lines, text_columns=2))


def _rejected() -> None:
    (minute,) = queries.ask("rejecting")
    if minute["mostly"]:
        told = {name: show.count(minute[name]) for name in ("rejected", "records")}
        st.error(t("pipeline.rejecting", reason=term("rejected", minute["reason"]), **told))
    found = queries.ask("rejected")
    if not found:
        st.caption(t("pipeline.nothing_rejected"))
        _last_retry()
        return
    heads = [
        hinted(f"pipeline.rejected.{key}") for key in ("reason", "detail", "example", "messages")
    ]
    st.html(
        markup.table(
            heads,
            (
                [
                    markup.with_small(
                        term("rejected", row["reason"]),
                        show.moment(row["last_at"], viewer_offset()),
                    ),
                    row["detail"],
                    Markup("<pre>{}</pre><small>{}</small>").format(
                        _text(row["example"])[:600], row["origin"]
                    ),
                    show.count(row["messages"]),
                ]
                for row in found
            ),
            text_columns=3,
        )
    )
    st.caption(t("pipeline.rejected.retry"))
    _send_again({row["reason"]: row["messages"] for row in found})
    _last_retry()


def _send_again(messages: dict[str, int]) -> None:
    """An operator asks a worker to send them again; the pages themselves write nothing into the store."""
    if not access.is_operator():
        return
    with st.popover(t("pipeline.retry"), icon=":material/replay:"):
        st.caption(t("pipeline.retry.help"))
        names = {"": t("pipeline.retry.all", n=show.count(sum(messages.values())))}
        for reason, n in messages.items():
            names[reason] = t(
                "pipeline.retry.some", reason=term("rejected", reason), n=show.count(n)
            )
        chosen = st.selectbox(
            t("pipeline.retry.which"), list(names),
            format_func=lambda key: markup.plain(names.get(key, key)), key="retry",
        )  # fmt: skip
        pressed = st.button(t("pipeline.retry"), key="retry_now", type="primary")
        if pressed and access.tell("retry_wanted", {"reason": chosen, "by": access.viewer()}):
            st.toast(t("pipeline.retry.asked"))


def _last_retry() -> None:
    """What came of the newest request of the last day."""
    events = queries.events(controls.scope(RANGES["24h"], ""))
    if asked := [event for event in events if event["kind"] == "retry_wanted"]:
        done = [
            e for e in events if e["kind"] == "retried" and e.get("of") == asked[-1]["event_id"]
        ]
        event = done[-1] if done else asked[-1]
        key = "pipeline.retry.done" if done else "pipeline.retry.waiting"
        said = t(key, at=show.moment(event["at"], viewer_offset()), what=retry_label(event))
        st.caption(markup.plain(said))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _unpriced() -> None:
    found = queries.ask("unpriced")
    if not found:
        st.caption(t("pipeline.all_priced"))
        return
    heads = [hinted(f"pipeline.unpriced.{key}") for key in ("model", "reason", "calls")]
    st.html(
        markup.table(
            heads,
            (
                [
                    markup.with_small(row["model"] or "?", short_name(row["provider"], language())),
                    term("unpriced", row["reason"]),
                    show.count(row["calls"]),
                ]
                for row in found
            ),
            text_columns=2,
        )
    )
    missing = [row for row in found if row["reason"] in ("unknown_model", "no_price")]
    if missing:
        st.caption(t("pipeline.unpriced.mend"))
        st.code(
            "\n\n".join(facts_line(row["provider"], row["model"]) for row in missing[:5]),
            language="yaml",
        )


def facts_line(provider: str, model: str) -> str:
    """What to add to a provider's facts so that calls of the model get a price; amounts are left to fill in."""
    name = provider if provider.replace("-", "").replace("_", "").isalnum() else "PROVIDER"
    return (
        f"# pipeline/facts/providers/{name}.yml, under models:\n"
        f"- id: {json.dumps(model, ensure_ascii=False)}\n"
        "  prices:\n"
        '    - region: ""\n'
        "      currency: CNY\n"
        "      per_million: {input: ?, output: ?}\n"
        "      effective_from: ?\n"
        "      verified: false"
    )


def _doubts() -> None:
    found = queries.ask("doubts")
    if not found:
        st.caption(t("pipeline.no_doubts"))
        return
    heads = [hinted(f"pipeline.doubts.{key}") for key in ("doubt", "example", "calls")]
    st.html(
        markup.table(
            heads,
            (
                [term("doubt", row["doubt"]), row["example"], show.count(row["calls"])]
                for row in found
            ),
            text_columns=2,
        )
    )
