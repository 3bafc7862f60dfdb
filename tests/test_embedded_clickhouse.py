"""The embedded ClickHouse endpoint, used through clickhouse_connect as one uses a server."""

import gzip
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from ports import own_port

TABLES = [
    """CREATE TABLE calls (day Date, provider LowCardinality(String), tokens UInt64)
       ENGINE = MergeTree PARTITION BY day ORDER BY provider
       SETTINGS non_replicated_deduplication_window = 10000""",
    """CREATE TABLE totals (provider LowCardinality(String), calls UInt64, tokens UInt64)
       ENGINE = SummingMergeTree ORDER BY provider
       SETTINGS non_replicated_deduplication_window = 10000""",
    """CREATE TABLE averages (provider LowCardinality(String), tokens AggregateFunction(avg, UInt64))
       ENGINE = AggregatingMergeTree ORDER BY provider
       SETTINGS non_replicated_deduplication_window = 10000""",
    """CREATE MATERIALIZED VIEW to_totals TO totals AS
       SELECT provider, count() AS calls, sum(tokens) AS tokens FROM calls GROUP BY provider""",
    """CREATE MATERIALIZED VIEW to_averages TO averages AS
       SELECT provider, avgState(tokens) AS tokens FROM calls GROUP BY provider""",
]
DAY = datetime(2026, 1, 2, tzinfo=UTC).date()


def start(port: int, data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline.embedded.clickhouse"]
    return subprocess.Popen(
        [*command, "--port", str(port), "--data", str(data)], stderr=subprocess.PIPE, text=True
    )


def wait_until_up(process: subprocess.Popen[str], port: int) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    pause = threading.Event()
    while process.poll() is None:
        try:
            assert opener.open(f"http://127.0.0.1:{port}/ping").read() == b"Ok.\n"
            return
        except OSError:
            pause.wait(0.05)
    raise AssertionError(process.communicate()[1])


@contextmanager
def running(data: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = own_port()
    with start(port, data) as process:
        try:
            wait_until_up(process, port)
            yield process, port
        finally:
            process.kill()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running(tmp_path_factory.mktemp("clickhouse")) as (_, port):
        yield port


@pytest.fixture
def client(endpoint: int) -> Iterator[Client]:
    """A client on a fresh database of its own."""
    admin = clickhouse_connect.get_client(host="127.0.0.1", port=endpoint)
    admin.command("CREATE DATABASE one_test")
    yield clickhouse_connect.get_client(host="127.0.0.1", port=endpoint, database="one_test")
    admin.command("DROP DATABASE one_test")


def insert_batch(client: Client, token: str, providers: int = 3, rows: int = 10_000) -> None:
    columns = [[DAY] * rows, [f"p{n % providers}" for n in range(rows)], list(range(rows))]
    settings = {
        "insert_deduplication_token": token,
        "deduplicate_blocks_in_dependent_materialized_views": 1,
    }
    client.insert(
        "calls",
        columns,
        column_names=["day", "provider", "tokens"],
        column_oriented=True,
        settings=settings,
    )


def stored(client: Client) -> list[tuple[object, ...]]:
    """What the table and both view targets hold, in one list that two states compare by."""
    queries = (
        "SELECT count(), sum(tokens) FROM calls",
        "SELECT provider, sum(calls), sum(tokens) FROM totals GROUP BY provider ORDER BY provider",
        "SELECT provider, avgMerge(tokens) FROM averages GROUP BY provider ORDER BY provider",
    )
    return [row for query in queries for row in client.query(query).result_rows]


@pytest.mark.parametrize("compression", [True, False, "lz4", "zstd", "gzip"])
def test_rows_come_back_as_they_went_in(endpoint: int, client: Client, compression: object) -> None:
    """Whatever bytes the rows hold, with every compression a client may choose."""
    packed = clickhouse_connect.get_client(
        host="127.0.0.1",
        port=endpoint,
        database="one_test",
        compress=compression,
        tz_mode="aware",
    )
    packed.command(
        "CREATE TABLE t (id UInt64, text String, cost Nullable(Decimal(38, 12)), tags Map(String,"
        " String), at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY id"
    )
    awkward = "a;\n INSERT INTO t VALUES (1);\n\n\0'\"`\\ FORMAT CSV 模型 \t"
    at = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    rows = [(n, awkward * 20, Decimal("0.000000000001"), {"k": awkward}, at) for n in range(3000)]
    rows.append((3000, "", None, {}, at))
    written = packed.insert("t", rows)
    assert written.written_rows == 3001
    assert packed.query("SELECT * FROM t ORDER BY id").result_rows == rows


def test_every_way_of_reading_works(client: Client) -> None:
    query = "SELECT number AS n, toString(number) AS s FROM numbers(200000)"
    assert client.query(query).row_count == 200_000
    assert client.query_df(query)["n"].sum() == 19_999_900_000
    assert client.query_arrow(query).num_rows == 200_000
    with client.query_row_block_stream(query) as blocks:
        assert sum(len(block) for block in blocks) == 200_000
    assert client.command("SELECT 7") == 7
    assert client.command("SELECT 7 WHERE 0") == ""
    assert client.query("SELECT 1 AS a WHERE 0").result_rows == []
    assert client.query("SELECT 1 AS a LIMIT 0").column_names == ("a",)
    assert client.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'
    assert client.ping()


def test_parameters_are_bound_by_the_engine(client: Client) -> None:
    given = {
        "text": "it's \\ a\ttab\nand a line;",
        "list": ["a'b", "c\\d"],
        "at": datetime(2026, 1, 2, 3, 4, 5),
        "none": None,
        "db": "system",
    }
    query = (
        "SELECT {text:String}, {list:Array(String)}, {at:DateTime('UTC')}, {none:Nullable(String)},"
        " (SELECT count() FROM {db:Identifier}.one)"
    )
    row = client.query(query, parameters=given).result_rows[0]
    assert row[:2] == (given["text"], given["list"])
    assert row[2].replace(tzinfo=None) == given["at"]
    assert row[3:] == (None, 1)


def test_settings_hold_for_their_own_query_only(client: Client) -> None:
    query = "SELECT getSetting('max_block_size')"
    assert client.command(query, settings={"max_block_size": 1234}) == 1234
    assert client.command(query) != 1234


def test_the_statement_may_stand_in_the_url_or_the_body(endpoint: int) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://127.0.0.1:{endpoint}/"
    assert opener.open(url + "?query=SELECT+1").read() == b"1\n"
    assert opener.open(url, data=b"SELECT 2 FORMAT CSV").read() == b"2\n"
    opener.open(url, data=b"CREATE OR REPLACE TABLE u (a UInt8) ENGINE = Memory")
    opener.open(url + "?query=INSERT+INTO+u+FORMAT+CSV", data=b"3\n4\n")
    opener.open(url, data=b'INSERT INTO u FORMAT JSONEachRow {"a": 5}')
    opener.open(url, data=b"INSERT INTO u VALUES (6)")
    packed = {"Accept-Encoding": "br, gzip"}
    request = urllib.request.Request(
        url + "?enable_http_compression=1&query=SELECT+sum(a)+FROM+u", headers=packed
    )
    assert gzip.decompress(opener.open(request).read()) == b"18\n"


@pytest.mark.parametrize(
    ("query", "settings", "code", "name"),
    [
        ("SELEC 1", {}, 62, "SYNTAX_ERROR"),
        ("SELECT * FROM nowhere", {}, 60, "UNKNOWN_TABLE"),
        ("SELECT nothing", {}, 47, "UNKNOWN_IDENTIFIER"),
        ("INSERT INTO nowhere FORMAT CSV\n1", {}, 60, "UNKNOWN_TABLE"),
        ("SELECT throwIf(1)", {}, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT sleepEachRow(1) FROM numbers(3)", {"max_execution_time": 0.2}, 159, "TIMEOUT"),
    ],
)
def test_errors_are_those_of_a_server(
    client: Client, query: str, settings: dict[str, float], code: int, name: str
) -> None:
    with pytest.raises(DatabaseError, match=f"Code: {code}\\..*{name}") as raised:
        client.command(query, settings=settings)
    assert raised.value.code == code


def test_an_unreadable_body_is_an_error_and_stores_nothing(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(DatabaseError, match="not valid zstd"):
        client.raw_insert("t", ["a"], b"not zstd", fmt="Native", compression="zstd")
    with pytest.raises(DatabaseError, match="Cannot read all data"):
        client.raw_insert("t", ["a"], b"\x01\xff\x01\x01a\x06UInt64half", fmt="Native")
    assert client.command("SELECT count() FROM t") == 0


def test_one_insert_of_one_partition_is_one_part(client: Client) -> None:
    client.command(TABLES[0])
    insert_batch(client, "t/0/0/10000")
    parts = "SELECT rows FROM system.parts WHERE database = 'one_test' AND table = 'calls'"
    assert client.query(parts).result_rows == [(10_000,)]


def test_an_insert_of_many_blocks_is_one_part_too(client: Client) -> None:
    """40 MB of rows, which the client sends as several blocks."""
    client.command("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    client.insert("t", [(n, "x" * 4000) for n in range(10_000)])
    parts = "SELECT rows FROM system.parts WHERE database = 'one_test' AND table = 't'"
    assert client.query(parts).result_rows == [(10_000,)]


def test_readers_run_beside_a_writer(endpoint: int, client: Client) -> None:
    """Inserts end while a query that began before them is still running."""
    client.command(TABLES[0])
    slow_query = "SELECT sleepEachRow(0.05) FROM numbers(100) SETTINGS max_block_size = 1"
    ended = threading.Event()

    def read() -> None:
        reader = clickhouse_connect.get_client(host="127.0.0.1", port=endpoint)
        with pytest.raises(DatabaseError):
            reader.command(slow_query, settings={"max_execution_time": 3})
        ended.set()

    running_query = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(0.05)%'"
    thread = threading.Thread(target=read)
    thread.start()
    while client.command(running_query + " AND query NOT LIKE '%processes%'") == 0:
        assert not ended.is_set()
    insert_batch(client, "t/0/0/10000")
    assert client.command("SELECT count() FROM calls") == 10_000
    assert not ended.is_set()
    thread.join()


def test_a_repeated_insert_changes_neither_table_nor_views_even_after_restarts(
    tmp_path: Path,
) -> None:
    """Stored rows and the memory of tokens outlive SIGKILL as well as SIGTERM."""
    with running(tmp_path) as (process, port):
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
        for table in TABLES:
            client.command(table)
        insert_batch(client, "c/t/0/0/10000")
        first = stored(client)
        insert_batch(client, "c/t/0/0/10000")
        assert stored(client) == first
        insert_batch(client, "c/t/0/10000/20000")
        both = stored(client)
        assert both[0][0] == 20_000 and both[1][1] == 2 * first[1][1]
        process.send_signal(signal.SIGKILL)
        process.wait()
    with running(tmp_path) as (process, port):
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
        assert stored(client) == both
        insert_batch(client, "c/t/0/0/10000")
        insert_batch(client, "c/t/0/10000/20000")
        assert stored(client) == both
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0 and process.communicate()[1] == ""
    with running(tmp_path) as (process, port):
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
        insert_batch(client, "c/t/0/10000/20000")
        assert stored(client) == both


def test_a_directory_or_port_in_use_is_said_in_one_line(endpoint: int, tmp_path: Path) -> None:
    with running(tmp_path / "one") as (_, _port):
        second = start(own_port(), tmp_path / "one")
        third = start(endpoint, tmp_path / "two")
        for process, message in ((second, "is in use by another process"), (third, "in use")):
            error = process.communicate()[1]
            assert process.returncode == 2
            assert message in error and error.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_listens_beyond_loopback(endpoint: int) -> None:
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {line[1] for line in listening if line[1].endswith(f":{endpoint:04X}")}
    assert {address.split(":")[0] for address in addresses} == {"0100007F"}


def test_without_an_endpoint_a_client_says_so() -> None:
    with pytest.raises(OperationalError):
        clickhouse_connect.get_client(host="127.0.0.1", port=own_port())
