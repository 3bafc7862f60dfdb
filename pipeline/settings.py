"""Settings: environment variables CUTOVER_*, each declared once with its default and its meaning.

The README's table is made from this class.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

_AT_LEAST = {
    "partitions": 1, "replication": 1, "batch_calls": 1, "batch_ms": 1, "recent_ids": 0, "spool_bytes": 0,
    "judge_budget_usd": 0,
}  # fmt: skip


class SettingsError(ValueError):
    """A variable is missing or malformed; the message names it and the mend."""


def _setting(default: Any, doc: str, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"doc": doc})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that differs from one installation to the next."""

    data: Path = _setting(
        Path(".cutover"), "folder for data, logs and spool of the one-machine service"
    )
    spool_bytes: int = _setting(
        1024**3, "most that a producer keeps on disk while Kafka is away, bytes"
    )
    plan: Path = _setting(Path("plan.yml"), "the migration plan")
    kafka: str = _setting("127.0.0.1:9092", "Kafka bootstrap servers")
    partitions: int = _setting(4, "partitions of topics that are created")
    replication: int = _setting(1, "replication factor of topics that are created")
    calls_topic: str = _setting("llm.calls", "topic of call records")
    rejected_topic: str = _setting("llm.calls.rejected", "topic of records that could not be used")
    feedback_topic: str = _setting("llm.feedback", "topic of users' ratings of answers")
    events_topic: str = _setting(
        "rollout.events", "topic of events: stages, verdicts, producers' counts"
    )
    consumer_group: str = _setting("cutover-worker", "consumer group of the workers")
    clickhouse_url: str = _setting("http://127.0.0.1:8123", "ClickHouse HTTP address")
    clickhouse_user: str = _setting("default", "ClickHouse user")
    clickhouse_password: str = _setting("", "ClickHouse password", secret=True)
    clickhouse_database: str = _setting("cutover", "ClickHouse database")
    dashboard_clickhouse_user: str = _setting(
        "", "ClickHouse user of the pages, who may only read the views; by default the service's"
    )
    dashboard_clickhouse_password: str = _setting(
        "", "password of the pages' ClickHouse user", secret=True
    )
    host: str = _setting("127.0.0.1", "address the tap binds to; any but loopback needs tap tokens")
    tap_port: int = _setting(8400, "port of the tap")
    tap_tokens: str = _setting(
        "", "comma-separated tokens callers must send as x-cutover-token", secret=True
    )
    judge_base_url: str = _setting(
        "", "OpenAI-compatible base URL of a model that grades shadow answers; without it none does"
    )
    judge_model: str = _setting("", "the judge model; it sees users' requests and both answers")
    judge_key_env: str = _setting("", "environment variable that holds the judge model's API key")
    judge_share: float = _setting(1.0, "share of the mirrored conversations that are graded")
    judge_budget_usd: float = _setting(1.0, "what grading may cost per UTC day and tap, USD")
    judge_same_family: str = _setting(
        "refuse", "refuse or allow a judge model of the family of a model it grades"
    )
    admin_host: str = _setting(
        "127.0.0.1", "address of the tap's second port; any but loopback needs tap tokens"
    )
    admin_port: int = _setting(
        8402, "port of the tap that takes logs and traces over HTTP; 0 for none"
    )
    worker_host: str = _setting("127.0.0.1", "address of the worker's /healthz and /metrics")
    worker_port: int = _setting(8401, "port of the worker's /healthz and /metrics")
    dashboard_host: str = _setting(
        "127.0.0.1", "address of the pages; any but loopback needs a token"
    )
    dashboard_port: int = _setting(8501, "port of the pages")
    dashboard_token: str = _setting("", "token to be given once to see the pages", secret=True)
    readers: str = _setting(
        "", "who may see the pages once signed in: addresses, *@domain, or * for everybody"
    )
    operators: str = _setting(
        "", "who may also act: acknowledge events, have rejected records sent again; as readers"
    )
    batch_calls: int = _setting(2_500, "calls the worker stores in one insert, at most")
    batch_ms: int = _setting(
        1000, "how long the worker gathers calls at most before an insert, milliseconds"
    )
    recent_ids: int = _setting(200_000, "call ids remembered per partition to drop repeated ones")
    report_currency: str = _setting("USD", "currency of sums on the pages: USD or CNY")

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Settings from the environment. Raises SettingsError naming the variable."""
        given = {
            f.name: _parse(variable(f.name), environ[variable(f.name)], type(f.default))
            for f in fields(cls)
            if variable(f.name) in environ
        }
        settings = cls(**given)
        _check_ranges(settings)
        if settings.report_currency not in ("USD", "CNY"):
            raise SettingsError("CUTOVER_REPORT_CURRENCY: USD or CNY")
        if settings.judge_same_family not in ("refuse", "allow"):
            raise SettingsError("CUTOVER_JUDGE_SAME_FAMILY: refuse or allow")
        return settings

    def environ(self) -> dict[str, str]:
        """These settings as environment variables, for a child process."""
        return {variable(f.name): str(getattr(self, f.name)) for f in fields(self)}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"CUTOVER_{name.upper()}"


def _parse(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        needed = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{name}={text!r}: {needed} is needed") from None


def _check_ranges(settings: Settings) -> None:
    """Raises SettingsError naming the first setting outside of what it may be."""
    for f in fields(Settings):
        value, name = getattr(settings, f.name), variable(f.name)
        if f.name.endswith("_port") and not 0 <= value <= 65535:
            raise SettingsError(f"{name}={value}: a port is from 0 to 65535")
        if f.name in _AT_LEAST and not value >= _AT_LEAST[f.name]:  # nor a NaN
            raise SettingsError(f"{name}={value}: must be at least {_AT_LEAST[f.name]}")
    if not 0 <= settings.judge_share <= 1:
        raise SettingsError(f"CUTOVER_JUDGE_SHARE={settings.judge_share}: from 0 to 1")
    if not _is_web_address(settings.clickhouse_url):
        raise SettingsError("CUTOVER_CLICKHOUSE_URL: an address such as http://127.0.0.1:8123")


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is none
        return False


def markdown_table() -> str:
    """The settings as a Markdown table, for the README."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for f in fields(Settings):
        default = f"`{f.default}`" if str(f.default) else "none"
        lines.append(f"| `{variable(f.name)}` | {default} | {f.metadata['doc']} |")
    return "\n".join(lines) + "\n"
