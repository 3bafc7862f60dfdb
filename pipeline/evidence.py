"""Evidence bundles: everything a verdict rests on, in one file that anybody can check without a server.

A zip archive of `units.csv`, `pairs.csv` (shadow pairs), `plan.json` and `verdict.json`; the latter holds the
hashes of the others, the version of the formulas, the verdict and the path of the e-values.
"""

import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec

from pipeline.store import verdicts as store
from pipeline.store.connect import Client
from pipeline.store.verdicts import Epoch
from pipeline.verdicts.plan import Plan, check, plan_hash
from pipeline.verdicts.recompute import recompute, summary
from pipeline.verdicts.units import (
    Pair,
    Unit,
    of_pair,
    pairs_hash,
    read_pairs,
    read_units,
    shadows_of,
    units_hash,
    write_pairs,
    write_units,
)
from pipeline.verdicts.verdict import FORMULAS

UNITS, PAIRS, PLAN, VERDICT = "units.csv", "pairs.csv", "plan.json", "verdict.json"
_LONG_AGO = (
    1980,
    1,
    1,
    0,
    0,
    0,
)  # the earliest a zip archive can say: the same evidence, the same bytes


class EvidenceError(ValueError):
    """There is no such evidence, or the file is no bundle; the message says what to do."""


def judged_by(client: Client, workload: str, candidate: str) -> tuple[Plan, Epoch]:
    """The plan and the epoch of the verdict in force. Raises EvidenceError, StoreError."""
    epoch = store.read_epochs(client).get((workload, candidate))
    document = store.plan_in_force(client, workload, candidate)
    if epoch is None or document is None:
        judged = ", ".join(f"{w}/{c}" for w, c in sorted(store.read_epochs(client)))
        there = f"there are verdicts on {judged}" if judged else "there is none on anything yet"
        raise EvidenceError(f"no verdict on {workload}/{candidate}; {there}")
    return check(msgspec.json.decode(document, type=Plan)), epoch


def export(client: Client, workload: str, candidate: str) -> bytes:
    """The bundle of the verdict in force. Raises EvidenceError, StoreError."""
    plan, epoch = judged_by(client, workload, candidate)
    units = of_pair(
        store.read_units(client, workload, since=epoch.starts_at), plan, workload, candidate
    )
    pairs = store.read_pairs(client, workload, since=epoch.starts_at)
    about = {"set_by": epoch.set_by, "after_data": epoch.after_data, "starts_at": epoch.starts_at}
    mine = shadows_of(pairs, plan, workload, candidate)
    return bundle(plan, workload, candidate, units, mine, epoch.epoch, about)


def bundle(
    plan: Plan,
    workload: str,
    candidate: str,
    units: Sequence[Unit],
    pairs: Sequence[Pair],
    epoch: int,
    about: dict[str, Any],
) -> bytes:
    """A bundle of units and shadow pairs; `about` is told of the epoch."""
    found = account(plan, workload, candidate, units, pairs, epoch) | {"margins": about}
    files = {
        UNITS: write_units(units).encode(),
        PAIRS: write_pairs(pairs).encode(),
        PLAN: msgspec.json.encode(plan),
        VERDICT: msgspec.json.format(msgspec.json.encode(found)),
    }
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def account(
    plan: Plan,
    workload: str,
    candidate: str,
    units: Sequence[Unit],
    pairs: Sequence[Pair],
    epoch: int,
) -> dict[str, Any]:
    """What a bundle says of its contents; recomputed from them when it is verified."""
    verdict, path = recompute(plan, workload, candidate, units, pairs, epoch)
    return {
        "formulas": FORMULAS,
        "plan_hash": plan_hash(plan),
        "units_hash": units_hash(units),
        "pairs_hash": pairs_hash(pairs),
        "verdict": summary(plan, verdict, candidate),
        "path": path,
    }


def verify(file: Path) -> tuple[dict[str, Any], list[str]]:
    """What a bundle says, and what of it does not hold: nothing, if all is well. Raises EvidenceError, OSError."""
    try:
        with zipfile.ZipFile(file) as archive:
            units = read_units(archive.read(UNITS).decode())
            pairs = read_pairs(archive.read(PAIRS).decode())
            plan = check(msgspec.json.decode(archive.read(PLAN), type=Plan))
            said = msgspec.json.decode(archive.read(VERDICT))
            told = said["verdict"]
            again = account(plan, told["workload"], told["candidate"], units, pairs, told["epoch"])
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise EvidenceError(f"{file} is no evidence bundle, or a broken one: {error}") from None
    if said["formulas"] != FORMULAS:
        return said, [
            f"formulas {said['formulas']}: this version has {FORMULAS}; verify it with the version that made it"
        ]
    same = msgspec.json.decode(msgspec.json.encode(again))
    return said, [f"{name} differs" for name in same if said.get(name) != same[name]]
