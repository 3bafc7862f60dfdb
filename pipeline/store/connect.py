"""A client for the store, the same for the embedded engine and for a server."""

from typing import Any

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


def rows(
    client: Client, sql: str, parameters: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The answer of a query as one dict a row."""
    return list(client.query(sql, parameters=parameters).named_results())
