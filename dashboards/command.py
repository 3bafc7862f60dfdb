"""`cutover dashboard`: runs the pages with Streamlit."""

import os
import sys
from ipaddress import ip_address
from pathlib import Path

from pipeline.settings import Settings, SettingsError

APP = Path(__file__).parent / "app.py"


def run_dashboard(settings: Settings) -> int:
    """Becomes Streamlit. Raises SettingsError if others could see the pages without a token."""
    if not settings.dashboard_token and not ip_address(settings.dashboard_host).is_loopback:
        raise SettingsError(
            f"CUTOVER_DASHBOARD_TOKEN is not set: {settings.dashboard_host} is open to others; "
            "set a token or bind to 127.0.0.1"
        )
    command = [
        sys.executable, "-m", "streamlit", "run", str(APP),
        "--server.address", settings.dashboard_host,
        "--server.port", str(settings.dashboard_port),
        "--server.headless", "true",
        "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
    os.execv(sys.executable, command)  # noqa: S606
