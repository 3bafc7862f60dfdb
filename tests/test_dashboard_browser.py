"""The pages in a real Chromium, over a seeded store: figures, no exception, nothing cut off.

Screenshots go to CUTOVER_SCREENSHOTS, else to a temporary folder.
"""

import asyncio
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import process, until
from playwright.sync_api import Browser, Page, expect, sync_playwright
from ports import own_port
from seed_store import HOSTILE, seeded

from pipeline.catalog import Catalog
from pipeline.embedded.supervisor import http_ready
from pipeline.settings import Settings
from pipeline.store.connect import connect, rows
from pipeline.store.migrate import migrate

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
APP = Path(__file__).parent.parent / "dashboards" / "app.py"
PAGES = {  # path → what shows that the figures are there
    "live": ".tile",
    "compare": ".grid",
    "rollout": ".sentence",
    "calls": "[data-testid='stDataFrame']",
    "pipeline": ".figures",
}

# Streamlit's front end cannot know whether a path is a page's or the one it is served under: opened at /compare it
# asks for its server at /compare/_stcore/ first, is told 404 twice, and finds it at /_stcore/. Nothing else may fail.
ASKED_BELOW = re.compile(r"status of 404 .*/[a-z]+/_stcore/(health|host-config)'")

if not CHROMIUM.exists() and os.environ.get("CI") != "true":
    pytest.skip("Chromium is not at /usr/bin/chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def settings(clickhouse_url: str, catalog: Catalog) -> Iterator[Settings]:
    with seeded(clickhouse_url, catalog) as found:
        yield found


@contextmanager
def dashboard(settings: Settings) -> Iterator[str]:
    """Where a dashboard over this store answers."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.environ().items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", str(APP.parent.parent))
        port = own_port()
        argv = ["streamlit", "run", str(APP), "--server.address", "127.0.0.1", "--server.port", str(port),
                "--server.headless", "true", "--browser.gatherUsageStats", "false"]  # fmt: skip
        with process(*argv) as child:
            url = f"http://127.0.0.1:{port}"
            asyncio.run(until(lambda: http_ready(f"{url}/_stcore/health"), child))
            yield url


@pytest.fixture(scope="module")
def address(settings: Settings) -> Iterator[str]:
    """Where the dashboard over the seeded store answers."""
    with dashboard(settings) as url:
        yield url


@pytest.fixture(scope="module")
def empty_address(clickhouse_url: str, catalog: Catalog) -> Iterator[str]:
    """Where a dashboard over a store without a single call answers."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    settings = replace(Settings(), clickhouse_url=clickhouse_url, clickhouse_database=name)
    migrate(settings, catalog)
    with dashboard(settings) as url:
        yield url
    with connect(settings) as client:
        client.command(f"DROP DATABASE `{name}`")


@pytest.fixture(scope="module")
def browser(address: str, empty_address: str) -> Iterator[Browser]:
    """Chromium, started last: Playwright keeps an event loop running, and servers start in their own."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("CUTOVER_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, theme, locale = getattr(request, "param", (1280, "light", "en-US"))
    errors: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=theme,
        locale=locale,
        timezone_id="Asia/Shanghai",
    )
    found = context.new_page()
    found.on(
        "console",
        lambda said: (
            errors.append(f"{said.text} {said.location}") if said.type == "error" else None
        ),
    )
    found.on("pageerror", lambda error: errors.append(str(error)))
    yield found
    context.close()
    assert [error for error in errors if not ASKED_BELOW.search(error)] == []


def visit(page: Page, address: str, path: str) -> None:
    page.goto(f"{address}/{path}")
    page.locator(PAGES[path.partition("?")[0]]).first.wait_for(timeout=30_000)
    expect(page.locator("[data-testid='stException']")).to_have_count(0)


LOOKS = [
    (1280, "light", "en-US"),
    (1280, "dark", "zh-CN"),
    (1920, "light", "zh-CN"),
    (390, "dark", "en-US"),
]


@pytest.mark.parametrize("page", LOOKS, indirect=True, ids=lambda look: "-".join(map(str, look)))
@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_its_figures_and_fits(
    path: str, page: Page, address: str, screenshots: Path, request: pytest.FixtureRequest
) -> None:
    visit(page, address, path)
    if path in ("live", "compare", "rollout", "pipeline"):
        page.locator(
            "[data-testid='stVegaLiteChart'] canvas, [data-testid='stVegaLiteChart'] svg"
        ).first.wait_for()
    wider = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth - innerWidth")
    assert wider <= 0, "the page is wider than the window"
    height = page.evaluate(
        "document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight"
    )
    page.set_viewport_size({"width": page.viewport_size["width"], "height": min(height + 80, 6000)})
    page.screenshot(path=screenshots / f"{request.node.name.replace('/', '-')}.png")


@pytest.mark.parametrize(
    "page", [(1280, "light", "en-US"), (1280, "light", "zh-CN")], indirect=True, ids=["en", "zh"]
)
def test_the_browsers_language_is_the_first_and_the_other_is_one_click_away(
    page: Page, address: str
) -> None:
    visit(page, address, "rollout")
    chinese = page.evaluate("navigator.language").startswith("zh")
    expect(page.get_by_text("各业务" if chinese else "Workloads", exact=True)).to_be_visible()
    page.get_by_role("radio", name="English" if chinese else "中文").click()
    expect(page.get_by_text("Workloads" if chinese else "各业务", exact=True)).to_be_visible()


def test_a_filter_stands_in_the_address_and_the_address_sets_it(page: Page, address: str) -> None:
    visit(page, address, "live")
    page.get_by_role("radio", name="24 hours").click()
    page.wait_for_url("**range=24h**")
    visit(page, address, "live?range=24h&workload=game")
    expect(page.locator(".tile")).to_have_count(2)


def test_old_numbers_are_called_stale_on_every_page(page: Page, address: str) -> None:
    """The seeded calls end when they were seeded, and this is later."""
    for path in PAGES:
        visit(page, address, path)
        expect(page.locator(".pill.stale")).to_be_visible(timeout=60_000)


def test_an_empty_store_says_what_to_do(page: Page, empty_address: str) -> None:
    for path in ("live", "compare", "calls"):
        page.goto(f"{empty_address}/{path}")
        expect(page.locator(".pill.empty")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("No call has arrived yet", exact=False).first).to_be_visible()
    page.goto(f"{empty_address}/rollout")
    expect(page.get_by_text("plan", exact=False).first).to_be_visible(timeout=60_000)
    expect(page.locator("[data-testid='stException']")).to_have_count(0)


def test_a_call_opens_by_its_link_and_its_hostile_text_does_nothing(
    page: Page, address: str, settings: Settings
) -> None:
    with connect(settings) as client:
        sql = (
            "SELECT call_id FROM v_calls WHERE position(failure_message, {text:String}) > 0 LIMIT 1"
        )
        call_id = rows(client, sql, {"text": HOSTILE})[0]["call_id"]
    page.on("dialog", lambda dialog: pytest.fail("text out of the data ran as a script"))
    page.goto(f"{address}/calls?call={call_id}")
    expect(page.locator(".steps").first).to_be_visible(timeout=30_000)
    expect(page.locator("img[src='x']")).to_have_count(0)
    assert HOSTILE in page.locator("[data-testid='stMain']").inner_text()


def test_the_comparison_downloads_as_csv(page: Page, address: str) -> None:
    visit(page, address, "compare")
    with page.expect_download() as download:
        page.locator(".st-key-compare_csv button").click()
    text = Path(download.value.path()).read_text("utf-8-sig")
    assert text.startswith("workload,figure,provider,model,arm,value,low,high,calls")
    assert "moonshot" in text


def test_a_number_leads_to_the_calls_behind_it(page: Page, address: str) -> None:
    visit(page, address, "compare?workload=support&range=24h")
    link = page.locator("a[href*='failure=rate_limit'][href*='provider=moonshot']").first
    link.wait_for(timeout=30_000)
    link.click()
    page.wait_for_url("**/calls?**")
    page.locator(PAGES["calls"]).first.wait_for(timeout=30_000)
    assert "failure=rate_limit" in page.url
    expect(page.get_by_role("combobox", name="Provider")).to_have_value("Moonshot AI Kimi")


def test_gates_stand_against_their_margins(page: Page, address: str) -> None:
    visit(page, address, "compare?workload=code-agent&range=24h")
    expect(page.locator(".track").first).to_be_visible(timeout=30_000)
    expect(page.get_by_text("▼ Roll back").first).to_be_visible()
    expect(page.locator("img[src='x']")).to_have_count(0)


def test_a_refresh_keeps_the_place_on_the_page(page: Page, address: str) -> None:
    visit(page, address, "live?range=24h")
    main = page.locator("[data-testid='stMain']")
    page.locator(
        "[data-testid='stVegaLiteChart'] canvas, [data-testid='stVegaLiteChart'] svg"
    ).first.wait_for()
    main.evaluate("it => it.scrollTo(0, 400)")
    place = main.evaluate("it => it.scrollTop")
    assert place > 0
    page.wait_for_timeout(5_000)  # two refreshes of the tiles
    assert main.evaluate("it => it.scrollTop") == place


def test_the_report_downloads_from_rollout_in_the_pages_language(page: Page, address: str) -> None:
    visit(page, address, "rollout?lang=zh")
    page.get_by_role("button", name="报告", exact=False).first.click()
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name="PDF").click()
    assert download.value.suggested_filename == "cutover-report-zh.pdf"
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF-")
