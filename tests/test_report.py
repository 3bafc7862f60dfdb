"""The management report: the rows' numbers in every form, the same again from its snapshot, nothing injected."""

import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter
from typing import Any

import msgspec
import pypdf
import pytest
from pptx import Presentation
from seed_store import HOSTILE, seeded

from pipeline import stats
from pipeline.catalog import Catalog
from pipeline.report import command, figures
from pipeline.report.collect import find, keep, take
from pipeline.report.compose import document
from pipeline.report.document import Forest, Points, singles
from pipeline.report.numbers import Numbers
from pipeline.report.scene import Label, scene
from pipeline.report.snapshot import (
    Account,
    Forecast,
    Gate,
    Snapshot,
    SnapshotError,
    Stored,
    Verdict,
    decode,
    name_of,
    verdict_from,
)
from pipeline.report.words import LANGUAGES, dictionary
from pipeline.settings import Settings
from pipeline.store.connect import connect, rows
from pipeline.verdicts.plan import Name

Raw = list[dict[str, Any]]
SHOW = Numbers("en")
NOW = datetime(2026, 11, 25, 9, tzinfo=UTC)
SPECIAL = f'{HOSTILE} #panic("x") *b* $x$ <script>alert(1)</script> "quoted" \\ & ]] --- 中文'


@pytest.fixture(scope="module")
def settings(clickhouse_url: str, catalog: Catalog) -> Iterator[Settings]:
    with seeded(clickhouse_url, catalog, calls=8_000) as found:
        yield found


@pytest.fixture(scope="module")
def snapshot(settings: Settings, catalog: Catalog) -> Snapshot:
    """What is stored, before the judge has spoken."""
    with connect(settings) as client:
        return msgspec.structs.replace(take(client, catalog, "USD"), verdicts=())


@pytest.fixture(scope="module")
def raw(settings: Settings) -> Raw:
    """Every stored row, as it is."""
    with connect(settings) as client:
        return rows(client, "SELECT * FROM calls")


@pytest.fixture(scope="module")
def usd(settings: Settings) -> Callable[[dict[str, Any]], Decimal]:
    """A row's cost in dollars, by the latest rate not after its day."""
    with connect(settings) as client:
        rates = rows(client, "SELECT * FROM v_fx WHERE to_currency = 'USD' ORDER BY valid_from")

    def found(row: dict[str, Any]) -> Decimal:
        if row["currency"] == "USD":
            return Decimal(row["cost"])
        day = row["started_at"].date()
        fits = [
            r for r in rates if r["from_currency"] == row["currency"] and r["valid_from"] <= day
        ]
        return Decimal(row["cost"] * fits[-1]["rate"])

    return found


@pytest.fixture(scope="module")
def judged(snapshot: Snapshot) -> Snapshot:
    """The same with a verdict of each kind and a gate in each state."""
    return msgspec.structs.replace(snapshot, verdicts=verdicts(snapshot.taken_at))


def verdicts(at: datetime) -> tuple[Verdict, ...]:
    late = Forecast(conversations_p50=1200, days_p50=40.0)
    gates = (
        Gate(gate="failure", unit="points", state="passed", estimate=0.001, lower=-0.004, upper=0.006, margin=0.01),
        Gate(gate="score", unit="points", state="open", estimate=0.011, lower=-0.002, upper=0.024, margin=0.02, forecast=late),
        Gate(gate="check:tool_calls_valid", unit="points", state="harmed", estimate=0.08, lower=0.05, upper=0.11, margin=0.02),
        Gate(gate="ttft_quantile", unit="ratio", state="open", estimate=1.12, lower=0.9, upper=None, margin=1.3),
        Gate(gate="cost", unit="USD", state="passed", estimate=-0.0123, lower=-0.02, upper=-0.004, margin=0.001),
        Gate(gate="ttft_slo", unit="points", state="no_data", margin=0.05),
    )  # fmt: skip
    kinds = (
        ("support", "kimi", "moonshot", "PROMOTE"), ("code-agent", "glm", "zhipu", "HOLD"),
        ("code-agent", "deepseek", "deepseek", "ROLLBACK"), ("extraction", "qwen", "dashscope", "BLOCKED"),
        ("game", "doubao", "volcengine", "HOLD"),
    )  # fmt: skip
    return tuple(
        Verdict(
            at=at, workload=workload, candidate=candidate, provider=provider, verdict=kind, since=at,
            reason_en=f"why {kind} of {candidate}", reason_zh=f"{candidate}的理由", units_baseline=1234,
            units_candidate=890, after_data=True, proven=False, gates=gates,
        )
        for workload, candidate, provider, kind in kinds
    )  # fmt: skip


def pdf_of(snapshot: Snapshot, language: str) -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(command.rendered(snapshot, language, ".pdf")))


def text_of(pdf: pypdf.PdfReader, page: int | None = None) -> str:
    """All words of a page or of all, with single spaces."""
    pages = pdf.pages if page is None else [pdf.pages[page]]
    return re.sub(r"\s+", " ", " ".join(p.extract_text() for p in pages))


def squeezed(text: str) -> str:
    """Without spaces: where lines are broken says nothing."""
    return re.sub(r"\s+", "", text)


def test_a_snapshot_read_back_gives_the_same_report(
    settings: Settings, snapshot: Snapshot, judged: Snapshot
) -> None:
    with connect(settings) as client:
        for each in (snapshot, judged):
            name = keep(client, each)
            again = find(client, name)
            assert again == each
            for language in LANGUAGES:
                assert document(again, language) == document(each, language)
                assert command.rendered(again, language, ".pdf") == command.rendered(each, language, ".pdf")  # fmt: skip
                assert command.rendered(again, language, ".html") == command.rendered(each, language, ".html")  # fmt: skip


def test_later_calls_do_not_change_a_report_made_before(
    clickhouse_url: str, catalog: Catalog, tmp_path: Path
) -> None:
    with seeded(clickhouse_url, catalog, calls=400) as settings:
        name = command.write_report(settings, "en", tmp_path / "before.html", "")
        with connect(settings) as client:
            client.command("INSERT INTO calls SELECT * FROM calls")
        later = command.write_report(settings, "en", tmp_path / "later.html", "")
        assert command.write_report(settings, "en", tmp_path / "again.html", name) == name
    before, again, new = (
        (tmp_path / f"{n}.html").read_bytes() for n in ("before", "again", "later")
    )
    assert before == again
    assert later != name
    assert b"800 calls stored" in new
    assert b"400 calls stored" in before


def test_the_trend_follows_the_plan_as_it_was_frozen(snapshot: Snapshot) -> None:
    """In the seeded store the game's last stage was put off after the first calls had come."""
    first, now = snapshot.frozen, snapshot.plan
    assert first and now and first.changes == 1
    last = {
        name: plan.workloads["game"].stages[-1].starts
        for name, plan in (("first", first.plan), ("now", now))
    }
    assert last["first"] < last["now"]
    between = last["first"] + (last["now"] - last["first"]) / 2

    def planned(of: Snapshot) -> float:
        return [share for at, share in figures.planned_curve(of, "game") if at <= between][-1]

    assert planned(snapshot) == 1.0
    before = msgspec.structs.replace(snapshot, frozen=msgspec.UNSET)  # as older versions took them
    assert planned(before) == pytest.approx(0.6)
    assert b'"frozen"' not in before.encode()
    assert name_of(decode(before.encode())) == name_of(before)
    words = dictionary("en")["trend.note.frozen"].split("(")[0]
    assert words in command.rendered(snapshot, "en", ".html").decode()


def test_a_snapshot_that_was_changed_in_the_store_is_refused(
    settings: Settings, snapshot: Snapshot
) -> None:
    later = msgspec.structs.replace(snapshot, taken_at=snapshot.taken_at + timedelta(seconds=1))
    forged = msgspec.structs.replace(later, weights={"support": 1})
    with connect(settings) as client:
        client.insert("reports", [[name_of(later), later.taken_at, forged.encode().decode()]], column_names=["snapshot", "taken_at", "data"])  # fmt: skip
        with pytest.raises(SnapshotError, match="its data was changed"):
            find(client, name_of(later))


@pytest.mark.parametrize(
    ("data", "named"),
    [(b'{"format": 1}', "another version"), (b'{"taken_at": "2026-11-25T00:00:00Z", "currency": "USD", "format": 99, "stored": {"calls": 0, "shadow_calls": 0, "rejected": 0, "unpriced": 0, "first_at": null, "last_stored_at": null}}', "format 99")],
)  # fmt: skip
def test_a_snapshot_of_another_version_is_refused(data: bytes, named: str) -> None:
    with pytest.raises(SnapshotError, match=named):
        decode(data)


def test_the_board_page_has_the_rows_numbers(
    snapshot: Snapshot, raw: Raw, usd: Callable[..., Decimal]
) -> None:
    text = squeezed(text_of(pdf_of(snapshot, "en"), 0))
    since = snapshot.taken_at.replace(second=0, microsecond=0, tzinfo=None) - timedelta(minutes=15)
    recent = [r for r in raw if r["started_at"].replace(tzinfo=None) >= since and r["arm"] in ("baseline", "candidate")]  # fmt: skip
    migrated = sum(r["arm"] == "candidate" for r in recent) / len(recent)
    assert squeezed(f"migrated {SHOW.percent(migrated, 0)}") in text

    paid = would_be = Decimal(0)
    for workload in {r["workload"] for r in raw}:
        price = None
        for day in sorted({r["started_at"].date() for r in raw}):
            arms: dict[str, list[Decimal]] = {"baseline": [], "candidate": [], "shadow": []}
            for r in raw:
                if (r["workload"], r["started_at"].date()) == (workload, day) and r[
                    "cost"
                ] is not None:
                    arms[r["arm"]].append(usd(r))
            if arms["baseline"]:
                price = sum(arms["baseline"], Decimal(0)) / len(arms["baseline"])
            if price is not None:
                paid += sum(arms["candidate"], Decimal(0))
                would_be += price * len(arms["candidate"])
    for amount in (paid, would_be, would_be - paid):
        assert squeezed(SHOW.money(amount, "USD")) in text

    month = [r for r in raw if r["started_at"].date().replace(day=1) == snapshot.taken_at.date().replace(day=1)]  # fmt: skip
    unpriced = sum(r["cost"] is None for r in raw)
    assert squeezed(f"{SHOW.count(unpriced)} calls ({SHOW.percent(unpriced / len(raw))})") in text
    net = sum((usd(r) for r in month if r["cost"] is not None), Decimal(0))
    assert squeezed(f"Net cost this month, all traffic {SHOW.money(net, 'USD')}") in text


@pytest.mark.parametrize("number", range(4))
def test_an_appendix_page_has_the_rows_numbers(
    number: int, snapshot: Snapshot, raw: Raw, usd: Callable[..., Decimal]
) -> None:
    assert snapshot.plan is not None
    key = list(snapshot.plan.workloads)[number]
    text = squeezed(text_of(pdf_of(snapshot, "en"), number + 1))
    for provider, arm in {(r["provider"], r["arm"]) for r in raw if r["workload"] == key}:
        mine = [r for r in raw if (r["workload"], r["provider"], r["arm"]) == (key, provider, arm)]
        if arm == "shadow":
            continue
        finished = [r for r in mine if r["failure"] != "cancelled"]
        scores = [r["quality"] for r in mine if r["quality"] is not None]
        priced = [usd(r) for r in mine if r["cost"] is not None]
        used = [r for r in mine if r["input_tokens"] is not None]
        rates = (
            stats.proportion(sum(r["fault"] == "provider" for r in mine), len(finished)),
            stats.proportion(sum(r["failure"] != "" for r in finished), len(finished)),
            stats.proportion(float(sum(scores)), len(scores)),
        )
        wanted = [SHOW.count(len(mine)), SHOW.money(1000 * sum(priced) / len(priced), "USD")]
        wanted += [SHOW.count(sum(r[c] for r in used) / len(used)) for c in ("input_tokens", "output_tokens")]  # fmt: skip
        for rate in rates:
            assert rate is not None
            wanted += [SHOW.percent(rate.value, 2), f"{SHOW.percent(rate.low, 2)} – {SHOW.percent(rate.high, 2)}"]  # fmt: skip
        missing = [value for value in wanted if squeezed(value) not in text]
        assert not missing, (key, provider)


def test_every_page_names_the_snapshot_and_its_number(judged: Snapshot) -> None:
    pdf = pdf_of(judged, "zh")
    for number in range(len(pdf.pages)):
        text = squeezed(text_of(pdf, number))
        assert squeezed(f"cutover report --snapshot {name_of(judged)}") in text
        assert squeezed(f"第 {number + 1} 页，共 {len(pdf.pages)} 页") in text


def test_the_board_has_one_page_however_much_there_is_to_say(judged: Snapshot) -> None:
    assert judged.plan is not None
    works = {f"{key}-{n}": work for n in range(6) for key, work in judged.plan.workloads.items()}
    plan = msgspec.structs.replace(judged.plan, workloads={**judged.plan.workloads, **works})
    for language in LANGUAGES:
        pdf = pdf_of(msgspec.structs.replace(judged, plan=plan), language)
        assert squeezed(dictionary(language)["board"]) in squeezed(text_of(pdf, 0))
        first = squeezed(dictionary(language)["appendix"].format(name=""))
        assert squeezed(text_of(pdf, 1)).startswith(first)


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_fonts_are_inside_the_pdf(language: str, judged: Snapshot) -> None:
    fonts = [font for page in pdf_of(judged, language).pages for font in page["/Resources"]["/Font"].values()]  # fmt: skip
    assert fonts
    for font in fonts:
        inner = font.get_object()["/DescendantFonts"][0].get_object()
        assert "NotoSansCJKsc" in inner["/BaseFont"]
        assert inner["/FontDescriptor"].get_object().keys() & {"/FontFile2", "/FontFile3"}


def test_the_charts_of_the_slides_hold_the_data(
    judged: Snapshot, raw: Raw, usd: Callable[..., Decimal]
) -> None:
    deck = Presentation(io.BytesIO(command.rendered(judged, "en", ".pptx")))
    charts = [[shape.chart for shape in slide.shapes if shape.has_chart] for slide in deck.slides]
    trend, costs = charts[0][0], charts[1][0]
    curve = figures.actual_curve(judged)
    assert tuple(trend.plots[0].series[0].values) == pytest.approx([share for _, share in curve])
    planned = list(trend.plots[0].series[1].values)
    assert planned[-1] == pytest.approx(figures.planned_curve(judged)[-1][1])

    exact: dict[str, Decimal] = {}
    for r in raw:
        if r["cost"] is not None and r["arm"] != "shadow":
            day = f"{r['started_at']:%m-%d}"
            exact[day] = exact.get(day, Decimal(0)) + usd(r)
    days = list(costs.plots[0].categories)
    shown = [
        sum(v or 0 for v in values)
        for values in zip(*(s.values for s in costs.plots[0].series), strict=True)
    ]
    assert days == sorted(exact)
    assert shown == pytest.approx([float(exact[day]) for day in days], rel=1e-6)

    forest = next(
        c for slide in charts[2:] for c in slide if c.plots[0].series[-1].name == "margin"
    )
    assert len(list(forest.plots[0].series)) == len(judged.verdicts[0].gates) + 1
    whole = "".join(s.text_frame.text for slide in deck.slides for s in slide.shapes if s.has_text_frame)  # fmt: skip
    assert whole.count(name_of(judged)) == len(deck.slides)
    theme = deck.slide_masters[0].part.part_related_by("http://schemas.openxmlformats.org/officeDocument/2006/relationships/theme")  # fmt: skip
    assert b'<a:ea typeface="Microsoft YaHei"/>' in theme.blob


class Page(HTMLParser):
    """What a browser would see: tags, attributes and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def hostile(judged: Snapshot) -> Snapshot:
    """Text in every place where people or vendors can put some."""
    assert judged.plan is not None
    works = {
        key: msgspec.structs.replace(
            work,
            name=Name(en=SPECIAL, zh=SPECIAL),
            owner=SPECIAL,
            stages=tuple(msgspec.structs.replace(stage, name=SPECIAL) for stage in work.stages),
        )
        for key, work in judged.plan.workloads.items()
    }
    plan = msgspec.structs.replace(judged.plan, migration=SPECIAL, workloads=works)
    names = {key: msgspec.structs.replace(p, en=SPECIAL, zh=SPECIAL) for key, p in judged.providers.items()}  # fmt: skip
    found = [
        msgspec.structs.replace(v, reason_en=SPECIAL, reason_zh=SPECIAL) for v in judged.verdicts
    ]
    gates = tuple(msgspec.structs.replace(g, gate=SPECIAL) for g in judged.verdicts[0].gates)
    found[0] = msgspec.structs.replace(found[0], gates=gates)
    unpriced = tuple(msgspec.structs.replace(u, model=SPECIAL) for u in judged.unpriced)
    return msgspec.structs.replace(judged, plan=plan, providers=names, verdicts=tuple(found), unpriced=unpriced)  # fmt: skip


def test_text_cannot_become_markup_in_html(hostile: Snapshot, judged: Snapshot) -> None:
    plain = Page(command.rendered(judged, "en", ".html").decode())
    found = Page(command.rendered(hostile, "en", ".html").decode())
    assert found.tags == plain.tags
    assert found.attributes == plain.attributes
    assert not {"script", "img", "a", "link", "iframe"} & found.tags
    assert SPECIAL in found.words
    assert not {"href", "src", "onerror", "onload"} & found.attributes  # needs nothing else


def test_text_cannot_become_markup_in_pdf_and_pptx(hostile: Snapshot) -> None:
    assert squeezed('#panic("x") *b* $x$ <script>') in squeezed(text_of(pdf_of(hostile, "zh")))
    deck = Presentation(io.BytesIO(command.rendered(hostile, "en", ".pptx")))
    words = [s.text_frame.text for slide in deck.slides for s in slide.shapes if s.has_text_frame]
    assert any(SPECIAL in text for text in words)


@pytest.mark.parametrize("suffix", [".pdf", ".pptx", ".html"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_an_empty_store_says_so(
    suffix: str, language: str, store_settings: Settings, store: Any, tmp_path: Path
) -> None:
    out = tmp_path / f"report{suffix}"
    command.write_report(store_settings, language, out, "")
    words = dictionary(language)["status.empty"]
    text = {
        ".pdf": lambda: text_of(pypdf.PdfReader(out)),
        ".html": lambda: Page(out.read_text()).words,
        ".pptx": lambda: " ".join(s.text_frame.text for s in Presentation(str(out)).slides[0].shapes if s.has_text_frame),
    }[suffix]()  # fmt: skip
    assert squeezed(words) in squeezed(text)


def test_a_store_without_a_plan_says_so(snapshot: Snapshot) -> None:
    found = document(msgspec.structs.replace(snapshot, plan=None), "en")
    assert found.pages[0].sentence == dictionary("en")["status.no_plan"]
    assert "plan.yml" in found.pages[0].blocks[0].paragraphs[0]


def test_old_numbers_are_called_old(snapshot: Snapshot) -> None:
    old = msgspec.structs.replace(
        snapshot,
        recent={},
        taken_at=snapshot.taken_at + timedelta(hours=5),
    )
    page = document(old, "en").pages[0]
    assert page.sentence.startswith(
        "These numbers are old: the newest call was stored 5 hours before"
    )
    assert "No traffic in the last 15 minutes" in page.sentence
    assert page.tone is not None
    assert page.tone.word == "Not known"
    assert "Old numbers" in [
        p.head for b in singles(page) if isinstance(b, Points) for p in b.items
    ]


def test_what_is_not_known_is_not_zero(snapshot: Snapshot) -> None:
    """No call of the candidates priced, and no exchange rate: no amount is shown for them."""
    bare = msgspec.structs.replace(
        snapshot, rates=(), saved=(), arms=tuple(msgspec.structs.replace(a, priced=0, cost=Decimal(0)) for a in snapshot.arms)
    )  # fmt: skip
    assert figures.month_bill(bare) is None
    assert figures.missing_rates(bare) == ["CNY"]
    text = text_of(pdf_of(bare, "en"))
    assert "no exchange rate for CNY" in text
    assert "$0" not in text.split("Cost per day")[0]
    assert "Paid for migrated calls –" in text


def test_risks_and_asks_follow_from_the_verdicts(judged: Snapshot) -> None:
    lists = [b for b in singles(document(judged, "en").pages[0]) if isinstance(b, Points)]
    risks, asks = ([point.head for point in points.items] for points in lists)
    assert risks[:2] == ["Code agent must go back", "Invoice extraction cannot be judged"]
    assert (
        "Game dialogue proof not to be expected" not in risks
    )  # a forecast that is not given says nothing
    assert asks[:3] == ["Take Code agent back", "Unblock Invoice extraction", "Approve the next stage of Support bot"]  # fmt: skip
    assert "Name an owner for Invoice extraction" in asks
    tones = {p.head: p.tone.mark for points in lists for p in points.items if p.tone}
    assert tones["Code agent must go back"] == "▼"


@pytest.mark.parametrize(
    ("over", "resent", "settling", "balanced"),
    [(-5, 0, False, True), (0, 0, False, True), (7, 0, False, False), (7, 0, True, True), (7, 7, False, True), (8, 7, False, False)],
)  # fmt: skip
def test_an_account_whose_sides_are_of_different_age_is_no_risk(
    over: int, resent: int, settling: bool, balanced: bool, snapshot: Snapshot
) -> None:
    """Producers tell their counts every two seconds: a batch stored meanwhile is ahead of them."""
    account = Account(produced=100, stored=100 + over, rejected=0, duplicates=0, ignored=0, resent=resent, settling=settling)  # fmt: skip
    told = msgspec.structs.replace(snapshot, account=account)
    said = str(document(told, "en"))
    assert ("Unbalanced account" not in said) == balanced
    assert decode(told.encode()) == told


def test_a_forest_puts_each_interval_on_its_side_of_the_margin(judged: Snapshot) -> None:
    page = document(judged, "en").pages[1]
    forest = next(block for block in page.blocks if isinstance(block, Forest))
    passed, undecided, harmed, *_ = forest.rows
    assert passed.high is not None and passed.high < 0
    assert undecided.low is not None and undecided.high is not None
    assert undecided.low < 0 < undecided.high
    assert harmed.low is not None and harmed.low > 0
    assert passed.text == f"+0.10 [−0.40 – +0.60], margin {SHOW.points(0.01)}"
    assert forest.rows[3].text == "×1.12 [×0.90 – –], margin ×1.30"
    assert forest.rows[4].text == "−0.0123 [−0.0200 – −0.0040], margin +0.0010 USD"
    assert forest.rows[5].at is None
    drawn = [s.text for s in scene(forest, 500).shapes if isinstance(s, Label)]
    assert {row.text for row in forest.rows} <= set(drawn)
    assert {row.tone.word for row in forest.rows} <= set(drawn)


def test_gates_are_read_from_the_judges_json() -> None:
    row = {
        "at": NOW, "workload": "w", "candidate": "c", "provider": "p", "model": "m", "epoch": 1,
        "verdict": "HOLD", "since": NOW, "reason_en": "e", "reason_zh": "z", "stage": "s", "share": 0.5,
        "units_baseline": 3, "units_candidate": 2, "late_calls": 0, "after_data": False, "proven": True, "plan_hash": "h",
        "gates": '[{"gate": "failure", "unit": "points", "state": "open", "estimate": 0.01, "lower": null,'
        ' "upper": 0.5, "margin": 0.01, "log_e_promote": 1.5, "forecast": {"conversations_p50": 7, "days_p50": 0.5, "reachable": true}}]',
    }  # fmt: skip
    found = verdict_from(row)
    assert found.gates[0].upper == 0.5
    assert found.gates[0].forecast == Forecast(conversations_p50=7, days_p50=0.5)


def test_both_languages_have_the_same_words_with_the_same_values() -> None:
    en, zh = (dictionary(language) for language in LANGUAGES)
    assert en.keys() == zh.keys()

    def values(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    assert {key for key in en if values(en[key]) != values(zh[key])} == set()


def test_a_snapshot_that_knows_nothing_still_makes_a_report() -> None:
    stored = Stored(
        calls=0, shadow_calls=0, rejected=0, unpriced=0, first_at=None, last_stored_at=None
    )
    for language in LANGUAGES:
        for suffix in command.FORMS:
            assert command.rendered(Snapshot(taken_at=NOW, currency="USD", stored=stored), language, suffix)  # fmt: skip


def cutover(
    folder: Path, *arguments: str, settings: Settings | None = None, without: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own; `without` names a module that is not installed."""
    code = f"import sys; sys.modules.update({{m: None for m in {without.split()!r}}}); from pipeline.cli import main; sys.exit(main())"
    environ = settings.environ() if settings else {"CUTOVER_CLICKHOUSE_URL": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "-c", code, "report", *arguments],
        cwd=folder, env={"PYTHONPATH": str(Path(__file__).parent.parent), **environ}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_command_writes_each_form_and_names_the_snapshot(
    settings: Settings, tmp_path: Path
) -> None:
    ran = cutover(tmp_path, "--lang", "zh", "--out", "a.pdf", settings=settings)
    assert ran.returncode == 0, ran.stderr
    name = ran.stdout.split()[-1]
    again = cutover(
        tmp_path, "--lang", "zh", "--out", "b.pdf", "--snapshot", name, settings=settings
    )
    assert again.stdout == f"wrote b.pdf, snapshot {name}\n"
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--out", "a.docx"], 2, "must end in .pdf, .pptx, .html"),
        (["--out", "no/where.pdf"], 2, "there is no folder no"),
        (["--out", "a.pdf", "--snapshot", "20200101-0"], 1, "no snapshot 20200101-0"),
        ([], 2, "--out"),
        (["--out", "a.pdf", "--lang", "fr"], 2, "--lang"),
    ],
)
def test_wrong_use_is_told(
    arguments: list[str], code: int, named: str, settings: Settings, tmp_path: Path
) -> None:
    ran = cutover(tmp_path, *arguments, settings=settings)
    assert (ran.returncode, "Traceback" in ran.stderr) == (code, False)
    assert named in ran.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("without", "out"),
    [("typst", "a.pdf"), ("pptx", "a.pptx"), ("manimgx_fonts_cjk", "a.pdf")],
)
def test_a_missing_part_is_told_with_its_mend(
    without: str, out: str, settings: Settings, tmp_path: Path
) -> None:
    ran = cutover(tmp_path, "--out", out, settings=settings, without=without)
    assert ran.returncode == 2
    assert "pip install 'cutover[report]'" in ran.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_away_or_not_migrated_is_told(settings: Settings, tmp_path: Path) -> None:
    assert cutover(tmp_path, "--out", "a.html").returncode == 1
    bare = replace(settings, clickhouse_database="no_such_database")
    ran = cutover(tmp_path, "--out", "a.html", settings=bare)
    assert ran.returncode == 1
    assert "run `cutover migrate`" in ran.stderr
    assert not list(tmp_path.iterdir())


def test_the_verdict_in_force_comes_out_of_the_store(clickhouse_url: str, catalog: Catalog) -> None:
    older = {
        "at": NOW - timedelta(hours=1), "workload": "support", "candidate": "kimi", "provider": "moonshot",
        "verdict": "HOLD", "since": NOW - timedelta(hours=1), "reason_en": "not enough", "reason_zh": "不足",
        "units_baseline": 10, "units_candidate": 5, "after_data": False, "proven": False, "gates": "[]",
    }  # fmt: skip
    newer = {**older, "at": NOW, "verdict": "PROMOTE", "reason_en": "all passed", "proven": True}
    newer["gates"] = '[{"gate": "failure", "unit": "points", "state": "passed", "estimate": 0.001, "lower": -0.01, "upper": 0.004, "margin": 0.01}]'  # fmt: skip
    with seeded(clickhouse_url, catalog, calls=400) as settings, connect(settings) as client:
        client.command("TRUNCATE TABLE verdicts")
        for row in (older, newer):
            client.insert("verdicts", [list(row.values())], column_names=list(row))
        found = take(client, catalog, "CNY")
    assert [verdict.verdict for verdict in found.verdicts] == ["PROMOTE"]
    page = document(found, "en").pages[1]
    assert page.sentence == "all passed"
    assert page.tone is not None
    assert page.tone.word == "Promote"
    forest = next(block for block in page.blocks if isinstance(block, Forest))
    assert forest.note.endswith("when all workloads are judged together.")
