"""A client for the store, the same for the embedded engine and for a server."""

from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from pipeline.settings import Settings

__all__ = [
    "ClickHouseType",
    "Client",
    "DatabaseError",
    "OperationalError",
    "StoreError",
    "connect",
    "rows",
    "why_not_stored",
]

StoreError = ClickHouseError  # every failure of the store, whether away or refusing


def connect(settings: Settings, *, database: str | None = None) -> Client:
    """A client bound to the database of the settings (or another). Raises StoreError if the store is away."""
    return clickhouse_connect.get_client(
        dsn=settings.clickhouse_url,
        username=settings.clickhouse_user,
        password=settings.clickhouse_password,
        database=settings.clickhouse_database if database is None else database,
        autogenerate_session_id=False,  # queries of several threads may run at once
        compress="lz4",
        send_receive_timeout=60,
    )


_REFUSALS = {  # what ClickHouse calls it → in our words, with the mend
    "AUTHENTICATION_FAILED": "refuses the user {user}; set CUTOVER_CLICKHOUSE_USER and CUTOVER_CLICKHOUSE_PASSWORD",
    "UNKNOWN_DATABASE": "has no database {database}; run `cutover migrate` or set CUTOVER_CLICKHOUSE_DATABASE",
    "UNKNOWN_TABLE": "lacks tables of this version; run `cutover migrate`",
}


def why_not_stored(settings: Settings, error: Exception) -> str:
    """What is the matter with the store, and the mend, in a sentence."""
    said = str(error)
    known = next((text for name, text in _REFUSALS.items() if name in said), "")
    if isinstance(error, OperationalError) and error.__cause__ is not None:
        known = "does not answer; start it or set CUTOVER_CLICKHOUSE_URL"
    where = urlsplit(settings.clickhouse_url).netloc.rpartition("@")[2]  # without a password
    if not known:
        first_line = said.partition("\n")[0]
        return f"ClickHouse at {where}: {first_line}"
    what = known.format(user=settings.clickhouse_user, database=settings.clickhouse_database)
    return f"ClickHouse at {where} {what}"


def rows(
    client: Client, sql: str, parameters: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The answer of a query as one dict a row."""
    return list(client.query(sql, parameters=parameters).named_results())
