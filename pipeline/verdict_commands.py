"""The commands about plans, units, verdicts and their evidence; part of `cutover`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pipeline.evidence import EvidenceError, export, judged_by, verify
from pipeline.plan_file import load_plan, plan_schema, render_plan
from pipeline.settings import Settings
from pipeline.store import verdicts as stored
from pipeline.store.connect import Client, connect
from pipeline.verdicts.plan import Plan, plan_hash
from pipeline.verdicts.recompute import recompute, summary
from pipeline.verdicts.units import (
    UnitsError,
    of_pair,
    pairs_hash,
    read_pairs,
    read_units,
    shadows_of,
    units_hash,
    write_pairs,
    write_units,
)
from pipeline.verdicts.verdict import FORMULAS, Outcome

Add = Callable[[str, Callable[[argparse.Namespace, Settings], int], str], argparse.ArgumentParser]


def add_verdict_commands(add: Add) -> None:
    """Adds `verdict`, `units`, `evidence` and `plan` to the command line."""
    verdict = add(
        "verdict", _verdict, "recompute verdicts from exported units without any server; 0: all PROMOTE"
    )  # fmt: skip
    verdict.add_argument("--plan", type=Path, required=True)
    verdict.add_argument(
        "--epoch",
        type=int,
        help="which start of evidence; default: the workload's epoch in the plan",
    )
    verdict.add_argument(
        "--pairs", type=Path, metavar="PAIRS.csv", help="their shadow pairs, if any"
    )
    verdict.add_argument("units", type=Path, metavar="UNITS.csv")
    units = add("units", _units, "print a workload's closed conversations as CSV, for `verdict`")
    units.add_argument("--workload", required=True)
    units.add_argument("--pairs", action="store_true", help="print its shadow pairs instead")
    units.add_argument(
        "--candidate", help="only what its verdict in force rests on; says which epoch to recompute"
    )
    evidence = add("evidence", _evidence, "export all a verdict rests on as one file, or verify it")
    kinds = evidence.add_subparsers(dest="what", required=True, metavar="export|verify")
    one = kinds.add_parser("export", help="the evidence of the verdict in force")
    one.add_argument("--workload", required=True)
    one.add_argument("--candidate", required=True, help="the endpoint's name in the plan")
    one.add_argument("--out", type=Path, required=True, metavar="FILE.zip")
    again = kinds.add_parser("verify", help="recompute it; 1 if anything differs")
    again.add_argument("file", type=Path, metavar="FILE.zip")
    plan = add("plan", _plan, "check or show the plan, or print its JSON Schema for editors")
    plan.add_argument("what", choices=["check", "show", "schema"])
    plan.add_argument("file", nargs="?", type=Path, help="default: CUTOVER_PLAN")


def verdicts_of(
    plan: Plan, text: str, pairs_text: str = "", epoch: int | None = None
) -> dict[str, Any]:
    """The verdict on every candidate of every workload that has units, or pairs, in a CSV. Raises UnitsError.

    `epoch` counts the starts of evidence; by default those the plan tells of, which the service may
    have counted more of: a changed margin or model is one too.
    """
    units, pairs = read_units(text), read_pairs(pairs_text) if pairs_text else []
    if not units and not pairs:
        raise UnitsError("there is no unit in the file; export some with `cutover units`")
    workloads = sorted({unit.workload for unit in units} | {pair.workload for pair in pairs})
    if strangers := [workload for workload in workloads if workload not in plan.workloads]:
        raise UnitsError(
            f"workload {strangers[0]!r} is not in the plan; give the plan it was judged by"
        )
    found = [
        summary(
            plan,
            recompute(plan, key, name, units, pairs, epoch or plan.workloads[key].epoch)[0],
            name,
        )
        for key in workloads
        for name in plan.workloads[key].candidates
    ]
    return {
        "formulas": FORMULAS,
        "plan_hash": plan_hash(plan),
        "units_hash": units_hash(units),
        "pairs_hash": pairs_hash(pairs),
        "verdicts": found,
    }


def _verdict(options: argparse.Namespace, settings: Settings) -> int:
    plan, text = load_plan(options.plan), _text_of(options.units)
    found = verdicts_of(plan, text, _text_of(options.pairs) if options.pairs else "", options.epoch)
    print(msgspec.json.format(msgspec.json.encode(found)).decode())
    return 0 if all(v["verdict"] == Outcome.PROMOTE for v in found["verdicts"]) else 1


def _text_of(file: Path) -> str:
    if not file.is_file():
        raise UnitsError(f"no such file: {file}")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UnitsError(f"{file} is no CSV text; export it with `cutover units`") from None


def _units(options: argparse.Namespace, settings: Settings) -> int:
    with connect(settings) as client:
        text = _stored(client, options.workload, options.candidate, options.pairs)
    sys.stdout.write(text)
    if empty := text.count("\n") == 1:
        what = "conversation with shadow pairs" if options.pairs else "conversation"
        print(f"cutover: {options.workload} has no closed {what} yet", file=sys.stderr)
    return 1 if empty else 0


def _stored(client: Client, workload: str, candidate: str | None, pairs: bool) -> str:
    """A workload's units or pairs, or those a candidate's verdict in force rests on. Raises EvidenceError."""
    since = 0
    if candidate is not None:
        plan, epoch = judged_by(client, workload, candidate)
        since = epoch.starts_at
        print(f"cutover: recompute it with --epoch {epoch.epoch}", file=sys.stderr)
    if pairs:
        shadows = stored.read_pairs(client, workload, since=since)
        return write_pairs(shadows_of(shadows, plan, workload, candidate) if candidate else shadows)
    units = stored.read_units(client, workload, since=since)
    return write_units(of_pair(units, plan, workload, candidate) if candidate else units)


def _evidence(options: argparse.Namespace, settings: Settings) -> int:
    if options.what == "export":
        with connect(settings) as client:
            options.out.write_bytes(export(client, options.workload, options.candidate))
        print(f"wrote {options.out}")
        return 0
    if not options.file.is_file():
        raise EvidenceError(f"no such file: {options.file}")
    said, wrong = verify(options.file)
    told = said["verdict"]
    print(f"{told['workload']}/{told['candidate']}: {told['verdict']}, epoch {told['epoch']}")
    for line in wrong or ["the units and pairs give this verdict, these e-values and this path"]:
        print(f"{'✗' if wrong else '✓'} {line}")
    return 1 if wrong else 0


def _plan(options: argparse.Namespace, settings: Settings) -> int:
    if options.what == "schema":
        print(plan_schema(), end="")
        return 0
    file = options.file or settings.plan
    plan = load_plan(file)
    print(render_plan(plan) if options.what == "show" else f"{file} is sound")
    return 0
