"""Every page, in both languages, over an empty, a seeded and an absent store."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter
from typing import Any

import msgspec
import pytest
import streamlit as st
from aiokafka import AIOKafkaConsumer
from kafka_brokers import embedded_broker
from ports import own_port
from seed_store import HOSTILE, plan_document, seeded
from streamlit.testing.v1 import AppTest

from dashboards import access, queries, show, words
from dashboards.command import run_dashboard
from pipeline.calls import Failure
from pipeline.catalog import Catalog
from pipeline.kafka import ensure_topics
from pipeline.rejected import asked
from pipeline.settings import Settings, SettingsError
from pipeline.store.connect import Client
from pipeline.verdicts.plan import Plan

DASHBOARDS = Path(words.__file__).parent
PAGES = ["live", "compare", "rollout", "calls", "pipeline"]
LANGUAGES = list(words.LANGUAGES)
AGREED = {
    "grants": [{"tokens": 10**6, "from": "2026-01-01"}],
    "plans": [{"price": 300, "currency": "CNY", "from": "2026-01-01", "path": "coding"}],
}
PAGE = """
from dashboards import state
from dashboards.views import {page}
with state.store_needed():
    {page}.page()
"""


@pytest.fixture(scope="module")
def seeded_settings(clickhouse_url: str, catalog: Catalog) -> Iterator[Settings]:
    with seeded(clickhouse_url, catalog, calls=8_000) as found:
        yield found


def use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.environ().items():
        monkeypatch.setenv(name, value)
    st.cache_data.clear()
    st.cache_resource.clear()


def run(page: str, language: str, **query: str) -> AppTest:
    app = AppTest.from_string(PAGE.format(page=page), default_timeout=30)
    app.session_state["lang"] = language
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def html(app: AppTest) -> str:
    return "\n".join(str(element.proto.body) for element in app.get("html"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_its_figures(
    page: str, language: str, seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(seeded_settings, monkeypatch)
    app = run(page, language, range="24h")
    assert not app.exception
    assert not app.error
    assert app.get("html") or app.dataframe


def test_gates_and_verdicts_are_shown_with_their_reasons_and_hostile_text_stays_text(
    seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(seeded_settings, monkeypatch)
    compared = html(run("compare", "en", range="24h", workload="code-agent"))
    assert "▲ Promote" in compared
    assert "▼ Roll back" in compared
    assert compared.count('class="track"') >= 2
    assert "workload=code-agent&amp;provider=zhipu&amp;model=glm-4.6&amp;range=24h&amp;check=tool_calls_valid" in compared  # fmt: skip
    assert "provider=deepseek&amp;range=24h&amp;failure=%2A" in compared
    assert "model=glm-4.6" in compared
    assert "120 mirrored conversations, 1 too late" in compared
    assert "Disagreement in shadow pairs" in compared
    assert "noise floor, n = 900" in compared
    assert "n = 300 mirrored" in compared
    rollout = run("rollout", "en")
    assert "1 may move on, 2 wait for evidence, 1 must go back" in html(rollout)
    assert "3,100" not in html(rollout)  # the slowest gate is told, not the first
    assert "5,200 conversations more" in html(rollout)
    assert "&lt;img" in html(rollout)
    assert "<img" not in html(rollout) + compared
    mirrored = html(run("compare", "en", range="24h", workload="extraction"))
    assert "Similar text" in mirrored


def test_rollout_shows_the_frozen_plan_and_says_what_was_changed_since(
    seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(seeded_settings, monkeypatch)
    frozen, changes = queries.frozen_plan()
    assert frozen is not None
    assert (frozen.plan_hash, [c.plan_hash for c in changes]) == ("frozen-plan", ["seed-plan"])
    assert frozen.plan.workloads["game"] != changes[0].plan.workloads["game"]
    app = run("rollout", "en")
    (said,) = [
        c.value.replace("\\", "") for c in app.caption if "frozen-plan" in c.value.replace("\\", "")
    ]
    assert "written by Li Na" in said
    assert "1 change since" in said
    assert "by Chen Wei" in said


@pytest.mark.parametrize("agreed", [{}, AGREED], ids=["list prices", "grants and plans"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_cost_by_month_says_how_to_add_terms_where_none_are_agreed(
    language: str,
    agreed: dict[str, object],
    seeded_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(seeded_settings, monkeypatch)
    document = plan_document(datetime.now(UTC) - timedelta(days=2))
    document["endpoints"]["kimi"] |= agreed
    plan = msgspec.convert(document, Plan, strict=False)
    monkeypatch.setattr(queries, "plan", lambda: plan)
    app = run("rollout", language)
    assert not app.exception
    assert not app.error
    assert words.dictionary(language)["rollout.month.granted"] in html(app)
    left = words.dictionary(language)["rollout.month.left"].split("{")[0]
    assert any(left in caption.value for caption in app.caption) == bool(agreed)
    hint = words.dictionary(language)["rollout.month.how_to_add"]
    assert (hint in [caption.value for caption in app.caption]) == (not agreed)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_to_do_with_an_empty_store(
    page: str, language: str, migrated: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(replace(migrated, data=tmp_path, plan=tmp_path / "plan.yml"), monkeypatch)
    app = run(page, language)
    assert not app.exception
    assert not app.error
    assert app.info or app.caption


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_that_the_store_is_away(
    page: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(replace(Settings(), clickhouse_url=f"http://127.0.0.1:{own_port()}"), monkeypatch)
    app = run(page, language)
    assert not app.exception
    assert "CUTOVER_CLICKHOUSE_URL" in app.error[0].value


def test_a_store_without_tables_asks_for_the_migration(
    clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(
        replace(Settings(), clickhouse_url=clickhouse_url, clickhouse_database="nobody_made_it"),
        monkeypatch,
    )
    app = run("live", "en")
    assert not app.exception
    assert "cutover migrate" in app.warning[0].value


def test_the_frame_holds_the_age_of_the_data_and_the_languages(
    seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(seeded_settings, monkeypatch)
    app = AppTest.from_file(str(DASHBOARDS / "app.py"), default_timeout=30).run()
    assert not app.exception
    assert "newest call" in html(app)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_call_opens_by_its_address_and_hostile_text_stays_text(
    language: str, seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(seeded_settings, monkeypatch)
    call = queries.search(queries.Search(queries.RANGES["all"], failure="*"), limit=500)
    hostile = next(c for c in call if HOSTILE in queries.call(c["call_id"])["failure_message"])
    app = run("calls", language, call=hostile["call_id"])
    assert not app.exception
    assert "&lt;img src=x onerror=alert(1)&gt;" in html(app)
    assert "<img" not in html(app)


def test_every_term_of_a_table_or_a_list_of_facts_explains_itself(
    seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads of tables but for providers' names, terms of lists, and the names of figures have a help to hover."""
    use(seeded_settings, monkeypatch)
    (newest, *_) = queries.search(queries.Search(queries.RANGES["all"]), limit=1)
    opened = run("calls", "en", call=newest["call_id"])
    for app in [*(run(page, "en", range="24h") for page in PAGES), opened]:
        shown = html(app)
        for term in re.findall(r"<(?:th|dt)(?: [^>]*)?>.*?</(?:th|dt)>", shown):
            helped = re.search(r'title="[^"]', term) or 'class="dot"' in term
            assert helped or re.search(r"<dt>Tag ", term), term


def test_a_call_that_is_not_there_is_said_to_be_missing(
    seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(seeded_settings, monkeypatch)
    app = run("calls", "en", call="<b>gone</b>")
    assert not app.exception
    assert app.warning


def test_both_languages_have_the_same_words_with_the_same_gaps() -> None:
    english, chinese = (
        json.loads((words.FOLDER / f"{name}.json").read_text()) for name in LANGUAGES
    )
    assert list(english) == list(chinese)
    for key, text in english.items():
        assert gaps(text) == gaps(chinese[key]), key


def gaps(text: str) -> set[str | None]:
    return {field for _, field, _, _ in Formatter().parse(text) if field is not None}


def test_every_word_a_page_asks_for_is_in_the_dictionary() -> None:
    sources = "\n".join(path.read_text() for path in DASHBOARDS.rglob("*.py"))
    asked = set(re.findall(r'\bt\("([a-z0-9_.]+)"', sources))
    carded = set(re.findall(r'card\("([a-z0-9_.]+)"', sources))
    carded |= set(re.findall(r'hinted\("([a-z0-9_.]+)"', sources))
    asked |= carded | {f"{key}.help" for key in carded} | {f"failure.{name}" for name in Failure}
    assert asked <= set(words.dictionary("en"))


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_spreadsheet_runs_nothing_from_a_csv_file(formula: str) -> None:
    assert show.csv_cell(formula) == f"'{formula}"
    assert show.csv_cell("plain") == "plain"
    assert show.csv_cell(-1.5) == -1.5


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with embedded_broker() as address:
        yield address


def test_an_operator_asks_a_worker_to_send_rejected_records_again(
    broker: str, seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages write nothing into the store: the request goes by Kafka, in the operator's name."""
    settings = replace(seeded_settings, kafka=broker)
    asyncio.run(ensure_topics(settings))
    use(settings, monkeypatch)
    monkeypatch.setattr(access, "viewer", lambda: "ann@example.com")
    app = run("pipeline", "en")
    assert app.selectbox(key="retry").options[:2] == ["All 4 messages", "not JSON\\: 2 messages"]
    app.selectbox(key="retry").select("not_json")
    app.button(key="retry_now").click().run()
    assert not app.exception and not app.error
    (event,) = asyncio.run(_events(settings))
    assert (event["kind"], event["reason"], event["by"]) == ("retry_wanted", "not_json", "ann@example.com")  # fmt: skip
    assert asked(event).wanted.until > datetime.now(UTC) - timedelta(minutes=1)


async def _events(settings: Settings) -> list[dict[str, Any]]:
    async with AIOKafkaConsumer(
        settings.events_topic, bootstrap_servers=settings.kafka, auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(30):
            return [json.loads((await consumer.getone()).value)]


def test_a_reader_is_not_offered_to_send_again(
    seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(seeded_settings, monkeypatch)
    monkeypatch.setattr(access, "role", lambda: "reader")
    app = run("pipeline", "en")
    assert not app.exception
    assert "retry_now" not in {button.key for button in app.button}
    with pytest.raises(PermissionError):
        access.tell("retry_wanted", {})


def test_asking_without_kafka_says_that_nothing_was_done(
    seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(replace(seeded_settings, kafka=f"127.0.0.1:{own_port()}"), monkeypatch)
    app = run("pipeline", "zh")
    app.button(key="retry_now").click().run()
    assert not app.exception
    assert app.error[0].value == words.dictionary("zh")["access.kafka_away"]


def test_what_came_of_a_retry_is_told(
    store: Client, store_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(store_settings, monkeypatch)
    names = ["event_id", "at", "kind", "workload", "provider", "fields"]

    def happened(event_id: str, kind: str, **fields: Any) -> None:
        store.insert("events", [[event_id, datetime.now(UTC), kind, "", "", json.dumps(fields)]], column_names=names)  # fmt: skip
        st.cache_data.clear()

    happened("r", "retry_wanted", by="ann@example.com", reason="not_json")
    said = [caption.value for caption in run("pipeline", "en").caption]
    assert any("ann@example\\.com" in s or "ann@example.com" in s for s in said)
    assert any("No worker has done it yet" in s for s in said)
    happened("r2", "retried", of="r", by="ann@example.com", rows=3, records=4, empty=0, reason=HOSTILE)  # fmt: skip
    said = [caption.value for caption in run("pipeline", "en").caption]
    assert any("4 records sent again for 3 rejected ones" in s for s in said)
    assert not any("[link](" in s or " <img" in s for s in said)


def test_the_pages_stay_shut_until_the_token_was_given(
    seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(replace(seeded_settings, dashboard_token="open-sesame"), monkeypatch)
    app = AppTest.from_function(_gate, default_timeout=30).run()
    assert [m.value for m in app.markdown] == []
    app.text_input[0].input("wrong").run()
    assert app.error and not app.markdown
    app.text_input[0].input("open-sesame").run()
    assert [m.value for m in app.markdown] == ["inside"]


def _gate() -> None:
    import streamlit as st

    from dashboards import access

    if not access.shut():
        st.markdown("inside")


def test_the_pages_are_not_shown_to_others_without_a_token() -> None:
    with pytest.raises(SettingsError, match="CUTOVER_DASHBOARD_TOKEN"):
        run_dashboard(Settings(dashboard_host="0.0.0.0"))
