"""The `cutover` command. Exit codes: 0 done, 1 the answer is no, 2 wrong use or wrong settings."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.embedded.supervisor import ChildError
from pipeline.kafka import KafkaError
from pipeline.settings import Settings, SettingsError
from pipeline.store.connect import StoreError
from pipeline.verdicts.plan import PlanError
from pipeline.yamlfile import BadFile

Command = Callable[[argparse.Namespace, Settings], int]


class UsageError(Exception):
    """Wrong use or wrong settings: one line for stderr, exit code 2."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; see `cutover --help`."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        command: Command = options.command
        return command(options, Settings.read())
    except BrokenPipeError:
        return 0
    except (UsageError, SettingsError, PlanError, BadFile) as error:
        print(f"cutover: {error}", file=sys.stderr)
        return 2
    except (ChildError, StoreError, KafkaError, OSError) as error:
        print(f"cutover: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cutover", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Command, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=command)
        return sub

    demo = add("demo", _demo, "the whole service on this machine, with live made-up traffic")
    demo.add_argument("--seconds", type=float, help="stop after this long (default: at Ctrl-C)")
    demo.add_argument("--json", action="store_true", help="print one JSON object at the end")
    demo.add_argument("--rate", type=float, default=40.0, help="calls per second (default 40)")
    demo.add_argument("--seed", type=int, help="seed of everything made up (default: the time)")
    demo.add_argument("--history", type=int, default=0, metavar="DAYS", help="days of made-up past")
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
    replay = add("replay", _replay, "send old log files through Kafka like live ones")
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE")
    catalog = add("catalog", _catalog, "check or show the facts on providers, models and prices")
    catalog.add_argument("what", choices=["check", "show"])
    return parser


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
    from pipeline.kafka import cluster_id  # noqa: PLC0415
    from pipeline.worker import run  # noqa: PLC0415

    run(settings, asyncio.run(cluster_id(settings)))
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

    for file in _existing(options.files):
        for line in score_file(file, options.format, options.plan):
            sys.stdout.buffer.write(line + b"\n")
    return 0


def _replay(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.files import replay_files  # noqa: PLC0415

    print(f"sent {asyncio.run(replay_files(settings, _existing(options.files)))} records")
    return 0


def _catalog(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.catalog import load_catalog  # noqa: PLC0415
    from pipeline.catalog_page import render  # noqa: PLC0415

    catalog = load_catalog()
    print(render(catalog) if options.what == "show" else "the facts are sound")
    return 0


def _existing(files: Sequence[Path]) -> Sequence[Path]:
    if missing := [str(file) for file in files if not file.is_file()]:
        raise UsageError(f"no such file: {', '.join(missing)}")
    return files


if __name__ == "__main__":
    sys.exit(main())
