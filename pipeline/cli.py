"""Watches LLM traffic move from one provider to others, live.

Exit codes: 0 done, 1 the answer is no, 2 wrong use or wrong settings.
"""

import argparse
import asyncio
import logging
import math
import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path

from pipeline.embedded.supervisor import ChildError
from pipeline.evidence import EvidenceError
from pipeline.kafka import KafkaError, why_not
from pipeline.reading import UnreadableFileError
from pipeline.report.snapshot import SnapshotError
from pipeline.settings import Settings, SettingsError
from pipeline.store.connect import StoreError, why_not_stored
from pipeline.store.migrate import MigrationError
from pipeline.store.versions import VersionTakenError
from pipeline.verdict_commands import add_verdict_commands
from pipeline.verdicts.plan import PlanError
from pipeline.verdicts.units import UnitsError
from pipeline.wording import filled
from pipeline.yamlfile import BadFile

MOST_DAYS = 90  # of the demo's past
SERVERS = {"demo", "up", "tap", "worker", "dashboard"}

Command = Callable[[argparse.Namespace, Settings], int]


class UsageError(Exception):
    """Wrong use or wrong settings: one line for stderr, exit code 2."""


WRONG_USE = (UsageError, SettingsError, PlanError, BadFile, UnitsError, EvidenceError)
FAILURES = (
    KafkaError, StoreError, ChildError, MigrationError, SnapshotError, VersionTakenError,
    UnreadableFileError, OSError,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; see `cutover --help`."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for library in ("aiokafka", "clickhouse_connect", "urllib3"):
        # Of a command that ends the answer says what went wrong; a server's log keeps how often.
        level = logging.WARNING if options.name in SERVERS else logging.CRITICAL
        logging.getLogger(library).setLevel(level)
    settings = Settings()
    try:
        settings = Settings.read()
        command: Command = options.command
        code = command(options, settings)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read has enough; at the end Python would complain once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except WRONG_USE as error:
        print(f"cutover: {error}", file=sys.stderr)
        return 2
    except FAILURES as error:
        print(f"cutover: {_told(error, settings)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _told(error: Exception, settings: Settings) -> str:
    if isinstance(error, KafkaError):
        return why_not(settings, error)
    if isinstance(error, StoreError):
        return why_not_stored(settings, error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cutover", description=__doc__)
    parser.add_argument("--version", action="version", version=f"cutover {version('cutover')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Command, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=command, name=name)
        return sub

    demo = add("demo", _demo, "the whole service on this machine, with live made-up traffic")
    demo.add_argument("--seconds", type=_positive, help="stop after this long (default: at Ctrl-C)")
    demo.add_argument("--json", action="store_true", help="print one JSON object at the end")
    demo.add_argument("--rate", type=_positive, default=45.0, help="calls per second (default 45)")
    demo.add_argument("--seed", type=int, help="seed of everything made up (default: the time)")
    demo.add_argument(
        "--history", type=_days, default=0, metavar="DAYS", help="days of made-up past (default 0)"
    )
    add("up", _up, "the whole service on this machine, for your own traffic")
    add("tap", _tap, "the recording proxy")
    add("worker", _worker, "the Faust worker")
    add("dashboard", _dashboard, "the pages")
    add("migrate", _migrate, "create or update the ClickHouse schema and the Kafka topics")
    add("check", _check, "say what is wrong with settings, plan, Kafka and ClickHouse")
    score = add("score", _score, "score log files without any server: one JSON object a call")
    score.add_argument("--format", default="", help="the files' format (default: recognise it)")
    score.add_argument("--plan", type=Path, help="plan that names the workloads")
    score.add_argument("files", nargs="+", type=Path, metavar="FILE")
    _replay_arguments(add("replay", _replay, "send old log files through Kafka like live ones"))
    feedback = add("feedback", _feedback, "say what a user thought of an answer")
    feedback.add_argument(
        "call_id", help="the call's id: x-cutover-call-id in the answer's headers"
    )
    feedback.add_argument("--rating", required=True, help="up, down, or from 0 (bad) to 1 (good)")
    feedback.add_argument("--comment", default="", help="in words; keys in it are blanked out")
    feedback.add_argument("--source", default="cli", help="who says so (default: cli)")
    formats = add("formats", _formats, "list the log formats and what each can and cannot tell")
    formats.add_argument(
        "--coverage",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="count what these logs tell instead",
    )
    catalog = add(
        "catalog", _catalog, "check, show or compare the facts on providers, models and prices"
    )
    catalog.add_argument("what", choices=["check", "show", "diff"])
    catalog.add_argument(
        "folder", nargs="?", type=Path, help="facts to check or show, or the older ones of a diff"
    )
    _rejected_arguments(add("rejected", _rejected, "list what could not be used, or send it again"))
    recount = add("audit", _audit, "count the raw rows again: ledger, rows and sums must agree")
    recount.add_argument(
        "--since", type=_moment, metavar="TIME",
        help="only what was stored since then, e.g. 2026-11-25 or 2026-11-25T08:00 (UTC)",
    )  # fmt: skip

    again = add("reprice", _reprice, "reckon the costs of stored calls again with today's facts")
    again.add_argument("--since", type=_day, required=True, metavar="DAY", help="e.g. 2026-11-25")
    again.add_argument("--until", type=_day, metavar="DAY", help="not included (default: no end)")
    again.add_argument("--provider", default="", help="its id (default: all)")
    again.add_argument("--apply", action="store_true", help="make the changes a new cost version")
    again.add_argument("--note", default="", help="why, kept with the version")
    _add_report(add)
    add_verdict_commands(add)
    return parser


def _add_report(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    report = add("report", _report, "the management report, as PDF, PPTX or HTML")
    report.add_argument("--lang", choices=["en", "zh"], default="en", help="language (default en)")
    report.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=".pdf, .pptx or .html"
    )
    report.add_argument(
        "--snapshot", default="", metavar="ID", help="make an older report again, with its numbers"
    )


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", default="", help="the files' format (default: recognise it)")
    parser.add_argument(
        "--rate", type=_positive, help="records a second, at most (default: no limit)"
    )
    parser.add_argument("--resume", action="store_true", help="go on where it stopped before")
    parser.add_argument(
        "--dry-run", action="store_true", help="send nothing, say what it would bring"
    )
    parser.add_argument("--plan", type=Path, help="plan that names the workloads of a dry run")
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE",
        help="JSON, lines of JSON, Parquet; .gz and .zst too; folders; - is standard input",
    )  # fmt: skip


def _rejected_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["list", "retry"])
    parser.add_argument("--reason", default="", help="only this one, e.g. unknown_format")
    parser.add_argument(
        "--since", type=_moment, metavar="TIME", help="only what was stored since (UTC)"
    )
    parser.add_argument("--format", default="", help="what to read them as (default: recognise it)")
    parser.add_argument(
        "--json", action="store_true", help="list: one JSON object each, with its bytes"
    )


def _demo(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.demo.service import Demo, run_demo  # noqa: PLC0415

    demo = Demo(options.seconds, options.json, options.rate, options.seed, options.history)
    return asyncio.run(run_demo(settings, demo))


def _up(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.service import run_up  # noqa: PLC0415

    return asyncio.run(run_up(settings))


def _tap(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.tap.command import run_tap  # noqa: PLC0415

    return asyncio.run(run_tap(settings))


def _worker(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.embedded.ports import check_address  # noqa: PLC0415
    from pipeline.kafka import cluster_id  # noqa: PLC0415
    from pipeline.worker import run  # noqa: PLC0415

    cluster = asyncio.run(cluster_id(settings))
    check_address(settings.worker_host, settings.worker_port, "CUTOVER_WORKER_PORT")
    run(settings, cluster)
    return 0


def _dashboard(options: argparse.Namespace, settings: Settings) -> int:
    from dashboards.command import run_dashboard  # noqa: PLC0415

    return run_dashboard(settings)


def _migrate(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.catalog import load_catalog  # noqa: PLC0415
    from pipeline.kafka import ensure_topics  # noqa: PLC0415
    from pipeline.plan_file import start_plan  # noqa: PLC0415
    from pipeline.store.migrate import migrate  # noqa: PLC0415

    if start_plan(settings.plan):
        print(f"wrote {settings.plan} to start from")
    for name in migrate(settings, load_catalog()):
        print(f"applied {name}")
    asyncio.run(ensure_topics(settings))
    print("schema and topics are up to date")
    return 0


def _check(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.check import findings  # noqa: PLC0415

    found = asyncio.run(findings(settings))
    for line in found:
        print(line)
    return 1 if any(line.startswith("✗") for line in found) else 0


def _score(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.files import score_file  # noqa: PLC0415

    _check_format(options.format)
    files, found = _existing(options.files), 0
    for file in files:
        for line in score_file(file, options.format, options.plan):
            sys.stdout.buffer.write(line + b"\n")
            found += 1
    if not found:
        print(f"cutover: no record in {', '.join(map(str, files))}", file=sys.stderr)
    return 0 if found else 1


def _formats(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.coverage import coverage_table, set_aside  # noqa: PLC0415
    from pipeline.files import scored_records  # noqa: PLC0415
    from pipeline.formats import described  # noqa: PLC0415

    if options.coverage:
        scored = [r for file in _existing(options.coverage) for r in scored_records(file)]
        print("\n".join([coverage_table(scored), "", *set_aside(scored)]))
    else:
        print("\n\n".join(f"{name}\n{text}" for name, text in described().items()))
    return 0


def _replay(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.replay import render, replay, summarise  # noqa: PLC0415
    from pipeline.rules import load_rules  # noqa: PLC0415

    _check_format(options.format)
    files = _existing(options.files)
    if options.dry_run:
        found = summarise(files, load_rules(options.plan), options.format)
        print(render(found))
        return 1 if found.unreadable else 0
    done = asyncio.run(
        replay(settings, files, format=options.format, rate=options.rate, resume=options.resume)
    )
    already = f", {done.skipped:,} had been sent before" if done.skipped else ""
    sent = filled(
        "sent {n} {n:record|records} of {files} {files:file|files}",
        {"n": f"{done.records:,}", "files": done.files},
    )
    print(f"{sent}{already}")
    for what in done.unreadable:
        print(f"cutover: {what}", file=sys.stderr)
    return 1 if done.unreadable else 0


def _feedback(options: argparse.Namespace, settings: Settings) -> int:
    import msgspec  # noqa: PLC0415

    from pipeline.feedback import Feedback, rating_of  # noqa: PLC0415
    from pipeline.kafka import send  # noqa: PLC0415

    if not options.call_id.strip():
        raise UsageError(
            "CALL_ID: the x-cutover-call-id of the answer, or its id on the Calls page"
        )
    try:
        rating = rating_of(options.rating)
    except ValueError:
        raise UsageError("--rating: up, down, or a number from 0 to 1") from None
    said = Feedback(
        event_id=uuid.uuid4().hex,
        call_id=options.call_id,
        rating=rating,
        comment=options.comment,
        source=options.source,
        at=time.time_ns() // 1_000_000,
    )
    asyncio.run(send(settings, settings.feedback_topic, said.call_id, msgspec.json.encode(said)))
    print(f"sent feedback {said.event_id} on call {said.call_id}")
    return 0


def _catalog(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.catalog import load_catalog  # noqa: PLC0415
    from pipeline.catalog_diff import diff  # noqa: PLC0415
    from pipeline.catalog_page import render  # noqa: PLC0415
    from pipeline.facts import FACTS  # noqa: PLC0415

    if options.what == "diff" and not options.folder:
        raise UsageError("catalog diff: name the folder with the older facts")
    catalog = load_catalog(options.folder or FACTS)
    if options.what == "diff":
        lines = diff(catalog, load_catalog())
        print("\n".join(lines) or "no difference")
    else:
        print(render(catalog) if options.what == "show" else "the facts are sound")
    return 0


def _reprice(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.catalog import load_catalog  # noqa: PLC0415
    from pipeline.reprice import fingerprint, render, reprice  # noqa: PLC0415
    from pipeline.store.connect import connect  # noqa: PLC0415
    from pipeline.store.versions import NO_END, Scope  # noqa: PLC0415

    catalog, until = load_catalog(), options.until or NO_END
    if options.provider and options.provider not in catalog.providers:
        raise UsageError(
            f"--provider {options.provider}: use one of {', '.join(catalog.providers)}"
        )
    if options.since >= until:
        raise UsageError("--until: must be later than --since")
    scope = Scope(since=options.since, until=until, provider=options.provider)
    with connect(settings) as client:
        preview, version = reprice(
            client, catalog, scope, note=options.note, facts=fingerprint(), apply=options.apply
        )
    print(render(preview) if preview else "nothing to change: all costs are those of the facts")
    if version:
        print(f"applied as cost version {version}")
    elif preview:
        print("nothing was changed: --apply makes this the new cost version")
    return 0


def _audit(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.audit import BEGINNING, audit  # noqa: PLC0415
    from pipeline.store.connect import connect  # noqa: PLC0415

    with connect(settings) as client:
        found = audit(client, options.since or BEGINNING)
    print(
        f"{found.batches} batches: {found.calls} calls, {found.rejected} rejected, "
        f"{found.duplicates} duplicates, looked at in {found.seconds} s"
    )
    print("everything agrees" if found.ok else f"✗ {found.first_discrepancy}")
    return 0 if found.ok else 1


def _rejected(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.rejected import BEGINNING, Wanted, as_json, line, pages, retry  # noqa: PLC0415
    from pipeline.store.connect import connect  # noqa: PLC0415

    _check_format(options.format)
    wanted = Wanted(options.since or BEGINNING, options.reason)
    with connect(settings) as client:
        if options.what == "list":
            found = 0
            for page in pages(client, wanted):
                found += len(page)
                for row in page:
                    print(as_json(row).decode() if options.json else line(row))
            if not found:
                print("cutover: there is no such rejected record", file=sys.stderr)
            return 0
        done = asyncio.run(retry(settings, client, wanted, options.format))
    print(f"sent {done.records:,} records again for {done.rows:,} rejected ones")
    if done.empty:
        print(f"{done.empty:,} were empty: there was nothing to send")
    return 0


def _moment(text: str) -> datetime:
    """A UTC time of ISO 8601; with another zone's offset it is converted."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _wanted(text, "a day or time such as 2026-11-25 or 2026-11-25T08:00") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _wanted(text, "a day such as 2026-11-25") from None


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < math.inf:
        raise _wanted(text, "a number above 0")
    return number


def _days(text: str) -> int:
    if not (text.isdigit() and int(text) <= MOST_DAYS):
        raise _wanted(text, f"a number of days from 0 to {MOST_DAYS}")
    return int(text)


def _wanted(text: str, what: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{text!r}: {what} is wanted")


def _report(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.report.command import FORMS, write_report  # noqa: PLC0415
    from pipeline.report.fonts import MissingError  # noqa: PLC0415

    out: Path = options.out
    if out.suffix not in FORMS:
        raise UsageError(f"--out {out}: the name must end in {', '.join(FORMS)}")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    try:
        name = write_report(settings, options.lang, out, options.snapshot)
    except MissingError as error:
        raise UsageError(str(error)) from None
    print(f"wrote {out}, snapshot {name}")
    return 0


def _check_format(name: str) -> None:
    from pipeline.formats import FORMATS  # noqa: PLC0415

    if name and name not in FORMATS:
        raise UsageError(f"--format {name}: use one of {', '.join(FORMATS)}")


def _existing(paths: Sequence[Path]) -> Sequence[Path]:
    """The log files that were named, and those in the folders that were."""
    from pipeline.reading import STDIN, log_files  # noqa: PLC0415

    if missing := [str(path) for path in paths if path != STDIN and not path.exists()]:
        raise UsageError(f"no such file: {', '.join(missing)}")
    if not (files := log_files(paths)):
        raise UsageError(f"no log files in {', '.join(map(str, paths))}")
    return files


if __name__ == "__main__":
    sys.exit(main())
