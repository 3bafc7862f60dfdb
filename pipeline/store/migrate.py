"""Brings the schema up to date: numbered migrations once each, views anew every time."""

import re
from datetime import date
from graphlib import TopologicalSorter
from itertools import permutations
from pathlib import Path

from pipeline.catalog import Catalog
from pipeline.settings import Settings
from pipeline.store.connect import Client, connect

SQL = Path(__file__).parent / "sql"
EPOCH = date(1970, 1, 1)
DAY_MS = 86_400_000
# Whoever may read a view may do so without a right to its tables: the pages' user has no other.
READ_BY_ALL = {
    "default_normal_view_sql_security": "DEFINER",
    "default_view_definer": "CURRENT_USER",
}
_CREATE = re.compile(r"(CREATE OR REPLACE VIEW \w+) AS")
_NAMES = re.compile(r"\bv_\w+")


class MigrationError(RuntimeError):
    """The database was migrated by a newer version, or a migration file was changed after use."""


def migrate(settings: Settings, catalog: Catalog) -> list[str]:
    """Creates the database if need be, applies what is new, replaces all views, loads exchange rates.

    Returns the names of the migrations applied now. May be run by several processes one after
    the other; run once before the workers start. Raises MigrationError or StoreError.
    """
    with connect(settings, database="") as server:
        server.command(f"CREATE DATABASE IF NOT EXISTS `{settings.clickhouse_database}`")
    with connect(settings) as client:
        applied = _apply_migrations(client)
        for view in _in_order_of_use(sorted((SQL / "views").glob("*.sql"))):
            client.command(_readable(view.read_text()))
        _load_rates(client, catalog)
    return applied


def _apply_migrations(client: Client) -> list[str]:
    client.command(
        "CREATE TABLE IF NOT EXISTS migrations (name String, applied_at DateTime DEFAULT now())"
        " ENGINE = MergeTree ORDER BY name"
    )
    new = pending(client)
    for name in new:
        for statement in statements((SQL / "migrations" / f"{name}.sql").read_text()):
            client.command(statement)
        client.insert("migrations", [[name]], column_names=["name"])
    return new


def pending(client: Client) -> list[str]:
    """Migrations of this version the database does not have. Raises MigrationError if it has newer ones."""
    done = {row[0] for row in client.query("SELECT name FROM migrations").result_rows}
    known = [file.stem for file in sorted((SQL / "migrations").glob("*.sql"))]
    if newer := done - set(known):
        raise MigrationError(
            f"the database has migrations this version does not know ({', '.join(sorted(newer))}): "
            "upgrade cutover, or point CUTOVER_CLICKHOUSE_DATABASE at another database"
        )
    return [name for name in known if name not in done]


def statements(sql: str) -> list[str]:
    """The statements of a file; each ends with a semicolon at the end of a line."""
    return [part for part in sql.split(";\n") if part.strip()]


def _readable(view: str) -> str:
    """The view with its maker's rights: who may read it needs none to its tables, as the pages' user has none."""
    return _CREATE.sub(r"\1 DEFINER = CURRENT_USER SQL SECURITY DEFINER AS", view, count=1)


def _in_order_of_use(views: list[Path]) -> list[Path]:
    """Views that other views read come before them."""
    by_name = {view.stem: view for view in views}
    read = {name: set(_NAMES.findall(by_name[name].read_text())) - {name} for name in by_name}
    order = TopologicalSorter({name: reads & by_name.keys() for name, reads in read.items()})
    return [by_name[name] for name in order.static_order()]


def _load_rates(client: Client, catalog: Catalog) -> None:
    """Both directions of each rate; days before the first one get it too, as an estimate."""
    days = [EPOCH, *(row.day for row in catalog.fx_rows)]
    pairs = {pair for row in catalog.fx_rows for pair in permutations((row.from_, row.to))}
    rates = [
        [a, b, day, rate.rate, rate.estimated]
        for a, b in sorted(pairs)
        for day in days
        if (rate := catalog.fx(a, b, (day - EPOCH).days * DAY_MS))
    ]
    names = ["from_currency", "to_currency", "valid_from", "rate", "estimated"]
    client.insert("fx_rates", rates, column_names=names)
