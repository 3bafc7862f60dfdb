"""Sign-in by OIDC, in Chromium: a real provider on loopback, `cutover dashboard`, readers and operators."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import until
from oidc_provider_mock import User, run_server_in_thread
from playwright.sync_api import Browser, Page, expect, sync_playwright
from ports import own_port
from seed_store import seeded
from test_dashboard_browser import ARGUMENTS, CHROMIUM

from pipeline.catalog import Catalog
from pipeline.embedded.supervisor import http_ready

ROOT = Path(__file__).parent.parent
PEOPLE = {  # whom the provider knows, and whether it has verified the address
    "boss@example.com": True,
    "ann@example.com": True,
    "mallory@example.com": False,
    "eve@elsewhere.example": True,
}
SECRETS = """
[auth]
redirect_uri = "{pages}/oauth2callback"
cookie_secret = "a long random text, for this test alone"
client_id = "cutover"
client_secret = "not much of one"
server_metadata_url = "{provider}/.well-known/openid-configuration"
"""
# What holds figures on any page.
FIGURES = ".tile, .grid, .figures, .sentence, [data-testid='stDataFrame']"


@pytest.fixture(scope="module")
def pages(
    clickhouse_url: str, catalog: Catalog, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where `cutover dashboard` answers: everybody at example.com may look, one may do more."""
    users = [User(sub=who, claims={"email": who, "email_verified": ok}) for who, ok in PEOPLE.items()]  # fmt: skip
    folder, port = tmp_path_factory.mktemp("dashboard"), own_port()
    url = f"http://localhost:{port}"
    with (
        seeded(clickhouse_url, catalog, calls=2_000) as settings,
        run_server_in_thread(user_claims=users) as provider,
    ):
        (folder / ".streamlit").mkdir()
        secrets = SECRETS.format(pages=url, provider=f"http://localhost:{provider.server_port}")
        (folder / ".streamlit" / "secrets.toml").write_text(secrets)
        environment = {
            **os.environ, **settings.environ(), "PYTHONPATH": str(ROOT), "CUTOVER_DASHBOARD_PORT": str(port),
            "CUTOVER_READERS": "*@example.com", "CUTOVER_OPERATORS": "boss@example.com",
        }  # fmt: skip
        argv = [sys.executable, "-m", "pipeline.cli", "dashboard"]
        with subprocess.Popen(argv, cwd=folder, env=environment) as child:
            try:
                asyncio.run(until(lambda: http_ready(f"{url}/_stcore/health"), child))
                yield url
            finally:
                child.terminate()


@pytest.fixture(scope="module")
def browser(pages: str) -> Iterator[Browser]:
    """Started last: Playwright keeps an event loop running, and servers start in their own."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="en-US")
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def sign_in(page: Page, pages: str, who: str) -> None:
    """By the button on the page and the provider's own form, and back."""
    page.goto(f"{pages}/pipeline")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/oauth2/authorize**")
    page.locator("input[name=sub]").fill(who)
    page.get_by_role("button", name="Authorize", exact=True).click()
    page.wait_for_url(f"{pages}/**")


def test_nothing_is_seen_before_signing_in(page: Page, pages: str) -> None:
    page.goto(f"{pages}/pipeline")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=60_000)
    expect(page.locator(FIGURES)).to_have_count(0)


@pytest.mark.parametrize(("who", "may_act"), [("boss@example.com", True), ("ann@example.com", False)])  # fmt: skip
def test_an_operator_is_offered_what_a_reader_is_not(
    who: str, may_act: bool, page: Page, pages: str
) -> None:
    sign_in(page, pages, who)
    page.goto(f"{pages}/pipeline")
    expect(page.locator(".figures").first).to_be_visible(timeout=60_000)
    expect(page.get_by_text("unknown format", exact=False).first).to_be_visible()
    expect(page.get_by_role("button", name="Send again")).to_have_count(1 if may_act else 0)
    page.goto(f"{pages}/live?range=all")
    expect(page.locator(".feed").first).to_be_visible(timeout=60_000)
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(1 if may_act else 0)


@pytest.mark.parametrize("who", ["eve@elsewhere.example", "mallory@example.com"])
def test_who_is_not_invited_or_not_verified_sees_nothing_and_is_told_so(
    who: str, page: Page, pages: str
) -> None:
    sign_in(page, pages, who)
    expect(page.get_by_text(f"{who} is signed in but may not see")).to_be_visible(timeout=60_000)
    expect(page.locator(FIGURES)).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(
        "**/oauth2/end_session**"
    )  # out of the pages, and asked whether out of the provider too
    page.goto(f"{pages}/pipeline")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=60_000)
