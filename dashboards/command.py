"""`cutover dashboard`: runs the pages with Streamlit."""

import logging
import sys
from importlib import import_module
from pathlib import Path

from streamlit.web.cli import main as streamlit

from pipeline.embedded.ports import check_address, is_loopback
from pipeline.settings import Settings, SettingsError

APP = Path(__file__).parent / "app.py"


def run_dashboard(settings: Settings) -> int:
    """Serves the pages until it is stopped. Raises SettingsError if others could see them without a token."""
    # Streamlit says of every cached query that no page runs yet.
    logging.getLogger("streamlit.runtime.caching.cache_data_api").addFilter(
        lambda record: "No runtime found" not in record.getMessage()
    )
    from dashboards import access  # noqa: PLC0415

    guarded = settings.dashboard_token or access.signs_in()
    if not guarded and not is_loopback(settings.dashboard_host):
        raise SettingsError(
            f"CUTOVER_DASHBOARD_TOKEN is not set: {settings.dashboard_host} is open to others; "
            "set a token, let people sign in ([auth] in .streamlit/secrets.toml), or bind to 127.0.0.1"
        )
    check_address(settings.dashboard_host, settings.dashboard_port, "CUTOVER_DASHBOARD_PORT")
    for page in ("live", "compare", "rollout", "calls", "pipeline"):
        import_module(f"dashboards.views.{page}")  # now, and not while the first visitor waits
    sys.argv = [
        "streamlit", "run", str(APP),
        "--server.address", settings.dashboard_host,
        "--server.port", str(settings.dashboard_port),
        "--server.headless", "true",
        "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
    streamlit()
    return 0
