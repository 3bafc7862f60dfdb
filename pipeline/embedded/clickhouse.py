"""A ClickHouse server for one machine: the engine behind ClickHouse's HTTP interface.

`clickhouse_connect` and any other client of the HTTP interface use it as they would a server.
Sessions, users, `compress=1` and multipart bodies are not offered; a result is complete before
its first byte is sent. Nothing is logged of what is asked or answered.

    python -m pipeline.embedded.clickhouse --port 8123 --data DIR
"""

import argparse
import asyncio
import json
import re
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiohttp import web

from pipeline.embedded.encodings import accepted_encoding, decoded, encoded
from pipeline.embedded.engine import Engine, Query, Result, owned

MAX_BODY_BYTES = 512 * 1024 * 1024
QUERIES_AT_ONCE = 16

# URL parameters of the HTTP interface that are not settings of the engine.
NOT_SETTINGS = {
    "query",
    "database",
    "default_format",
    "user",
    "password",
    "query_id",
    "session_id",
    "session_timeout",
    "session_check",
    "client_protocol_version",
    "wait_end_of_query",
    "buffer_size",
}

# A ClickHouse server's HTTP status by error code; 500 for all others.
HTTP_STATUS = {
    **dict.fromkeys((6, 26, 27, 33, 36, 38, 41, 43, 53, 62, 69, 70, 72, 130, 386, 457), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 81, 115), 404),
    **dict.fromkeys((159,), 408),
    **dict.fromkeys((164, 497), 403),
}
BAD_ARGUMENTS = 36

_HAS_RESULT = re.compile(rb"(?i)[\s(]*(SELECT|WITH|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN)\b")
_LAST_FORMAT = re.compile(rb"(?i)\sFORMAT\s+(\w+)[\s;]*\Z")
_ERROR = re.compile(r"Code: (\d+)\. .*", re.DOTALL)


def read_query(url: Mapping[str, str], body: bytes) -> Query:
    """The query of a request: its SQL is the `query` URL parameter followed by the body."""
    head = url.get("query", "").encode()
    return Query(
        sql=head + b"\n" + body if head else body,
        parameters={k.removeprefix("param_"): v for k, v in url.items() if k.startswith("param_")},
        settings={
            k: v for k, v in url.items() if k not in NOT_SETTINGS and not k.startswith("param_")
        },
        database=url.get("database", ""),
        default_format=url.get("default_format", "TabSeparated"),
    )


def result_format(query: Query) -> str:
    """The format a result is in, or "" for a statement that has none."""
    if not _HAS_RESULT.match(query.sql):
        return ""
    named = _LAST_FORMAT.search(query.sql[-200:])
    return named[1].decode() if named else query.default_format


def failure(error: Exception) -> web.Response:
    """The engine's error, or that of an unreadable body, as a ClickHouse server tells it."""
    told = _ERROR.search(str(error))
    code = int(told[1]) if told else BAD_ARGUMENTS
    text = told[0] if told else f"Code: {code}. DB::Exception: {error}. (BAD_ARGUMENTS)"
    headers = {"X-ClickHouse-Exception-Code": str(code)}
    return web.Response(status=HTTP_STATUS.get(code, 500), text=text + "\n", headers=headers)


def summary(result: Result) -> str:
    """The value of `X-ClickHouse-Summary`, where numbers are strings."""
    return json.dumps(
        {
            "read_rows": str(result.read_rows),
            "written_rows": str(result.written_rows),
            "written_bytes": str(result.written_bytes),
        }
    )


class Endpoint:
    """The HTTP interface over one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(QUERIES_AT_ONCE, "query")

    def app(self) -> web.Application:
        """The web application; its clean-up waits for running queries, then ends the engine."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/ping", self.ping)
        app.router.add_route("*", "/", self.query)
        app.on_cleanup.append(self.close)
        return app

    async def close(self, _: web.Application) -> None:
        self._threads.shutdown()
        self._engine.close()

    async def ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def query(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not body and "query" not in request.query:
            return await self.ping(request)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.answer, request, body)

    def answer(self, request: web.Request, body: bytes) -> web.Response:
        """Decodes, runs and encodes; blocks, so it is called on one of the threads."""
        try:
            plain = decoded(body, request.headers.get("Content-Encoding", ""))
            query = read_query(request.query, plain)
            return self.success(request, query, self._engine.run(query))
        except (RuntimeError, ValueError) as error:
            return failure(error)

    def success(self, request: web.Request, query: Query, result: Result) -> web.Response:
        headers = {
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Query-Id": request.query.get("query_id", ""),
            "X-ClickHouse-Summary": summary(result),
        }
        if name := result_format(query):
            headers["X-ClickHouse-Format"] = name
        encoding = accepted_encoding(request.headers.get("Accept-Encoding", ""))
        if not encoding or query.settings.get("enable_http_compression", "0") == "0":
            return web.Response(body=result.body, headers=headers)
        headers["Content-Encoding"] = encoding
        return web.Response(body=encoded(result.body, encoding), headers=headers)


async def serve(port: int, data: Path) -> None:
    """Serves on the loopback interface until SIGTERM or SIGINT; raises OSError if it cannot."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # aiohttp would undo some encodings and not others; we undo all of them ourselves.
    runner = web.AppRunner(Endpoint(Engine(data)).app(), access_log=None, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> int:
    """Runs the server; returns 2 if the port or the data directory cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.embedded.clickhouse")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="directory of the stored data")
    args = parser.parse_args()
    try:
        with owned(args.data):
            asyncio.run(serve(args.port, args.data))
    except BlockingIOError:
        print(f"data directory {args.data} is in use by another process", file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:
        print(f"cannot serve {args.data} on port {args.port}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
