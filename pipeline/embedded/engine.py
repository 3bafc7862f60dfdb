"""The chDB engine, which is ClickHouse inside this process, on one data directory.

Every query gets an engine connection of its own (about 1 ms): readers run beside a writer, and
no setting outlives its query. An inserted block is in the files before the insert returns.
"""

import contextlib
import fcntl
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import chdb

# The engine's own defaults are those of a server that has the machine to itself.
ENGINE_SETTINGS = {
    "max_server_memory_usage": 1_200_000_000,
    "mark_cache_size": 64_000_000,
    "index_mark_cache_size": 16_000_000,
    "primary_index_cache_size": 64_000_000,
    "query_condition_cache_size": 16_000_000,
    "compiled_expression_cache_size": 16_000_000,
    "background_pool_size": 2,
    "asynchronous_metrics_update_period_s": 60,
}

INSERT_CHUNK_BYTES = 1024 * 1024

# What stands before the FORMAT of an INSERT; a FORMAT inside quotes is not one.
_BEFORE_FORMAT = rb"""(?:[^'"`]|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`)*?"""
_INSERT_WITH_FORMAT = re.compile(
    rb"(?is)\s*(?P<statement>INSERT\s+INTO\s" + _BEFORE_FORMAT + rb")"
    rb"\sFORMAT\s+(?P<format>\w+)[ \t]*\r?\n?"
)
_LONGEST_INSERT_STATEMENT = 256 * 1024


class Query(NamedTuple):
    """A statement, with its data if it is an INSERT, and what goes with it."""

    sql: bytes
    parameters: dict[str, str]
    settings: dict[str, str]
    database: str
    default_format: str


class Result(NamedTuple):
    """The bytes of a result in the format asked for, and how many rows it took."""

    body: bytes
    read_rows: int
    written_rows: int
    written_bytes: int


class Engine:
    """The engine on one data directory; only one process at a time can have it open."""

    def __init__(self, data: Path) -> None:
        self._path = str(data)
        # The engine runs for as long as one connection to it is open.
        self._open = chdb.connect(f"{self._path}?{urlencode(ENGINE_SETTINGS)}")
        self.timezone = self._open.query("SELECT timezone()", "TSVRaw").bytes().decode().strip()

    def close(self) -> None:
        """Shuts the engine down."""
        self._open.close()

    def run(self, query: Query) -> Result:
        """Runs one query to its end; raises RuntimeError with ClickHouse's "Code: N. …" text."""
        with contextlib.closing(chdb.connect(self._path)) as connection:
            if query.database:
                connection.query(f"USE {quoted(query.database, '`')}")
            if query.settings:
                pairs = (f"{quoted(k, '`')} = {quoted(v)}" for k, v in query.settings.items())
                connection.query("SET " + ", ".join(pairs))
            return execute(connection, query)


def execute(connection: Any, query: Query) -> Result:
    """Runs the statement itself on a connection that is set up for it."""
    insert = _INSERT_WITH_FORMAT.match(query.sql, 0, _LONGEST_INSERT_STATEMENT)
    if insert and insert.end() < len(query.sql):
        return insert_data(connection, insert, memoryview(query.sql)[insert.end() :])
    result = connection.query(query.sql, query.default_format, params=query.parameters)
    return Result(
        result.bytes(),
        result.storage_rows_read(),
        result.rows_written(),
        result.bytes_written(),
    )


def insert_data(connection: Any, insert: re.Match[bytes], data: memoryview) -> Result:
    """Hands the data over apart from the statement.

    `connection.query` takes both as one text, and would look for a next statement in the data.
    """
    stream = connection.send_insert(insert["statement"].decode(), insert["format"].decode())
    for start in range(0, len(data), INSERT_CHUNK_BYTES):
        stream.append(data[start : start + INSERT_CHUNK_BYTES])
    written = stream.finish()
    return Result(b"", 0, written.rows_written, written.bytes_written)


def quoted(text: str, quote: str = "'") -> str:
    """The text as a ClickHouse literal, or as an identifier when the quote is a backtick."""
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


@contextlib.contextmanager
def owned(data: Path) -> Iterator[None]:
    """Holds the data directory for this process; raises BlockingIOError if another has it."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
