"""Who may import whom, over the import graph that the source files spell out, imports inside functions included."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "fangcuan"

#: Each part with the parts it may import; whatever is not named here is refused.
LOWEST = {"settings", "core"}
STORES = {"store", "warehouse", "content"}
WORK = {"ingest", "detect", "cases"}
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "settings": {"core"},
    "content": LOWEST,
    "store": LOWEST,
    "warehouse": LOWEST | {"content"},
    "ingest": LOWEST | STORES,
    "detect": LOWEST | STORES,
    "cases": LOWEST | STORES,
    # What content is given: names of the parts whose work it does.
    "authoring": {"core", "ingest", "detect"},
    "simulate": {"core"},
    "quality": {"core"},
    "flow": LOWEST | STORES | WORK | {"simulate"},
    "cli": LOWEST | STORES | WORK | {"simulate", "quality", "flow"},
    "__main__": {"cli"},
}
#: Engine and content meet here: the registry imports units by name, units import `fangcuan.authoring`.
FACADE = "authoring"


@dataclass(frozen=True)
class Import:
    """One import: the file and line where it stands, and the module it names."""

    path: Path
    line: int
    module: str

    @property
    def part(self) -> str:
        """`fangcuan.flow.night` is of the part `flow`; `fangcuan` alone (its version) of none."""
        return self.module.split(".")[1] if self.module.startswith("fangcuan.") else ""

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: imports {self.module}"


def modules(folder: Path) -> set[str]:
    """Names that stand directly below a package: what `from fangcuan import X` takes as a module."""
    return {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}


PARTS = modules(SOURCES) - {"__init__", "__pycache__", "py", "_content"}


def imports(path: Path) -> Iterator[Import]:
    """Every import statement of a file, wherever in it; and modules named to importlib as plain text."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write the whole name"
            assert node.module
            for alias in node.names:
                inner = node.module == "fangcuan" and alias.name in PARTS
                yield Import(path, node.lineno, f"fangcuan.{alias.name}" if inner else node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield Import(path, node.lineno, first.value)


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def engine_imports() -> list[tuple[str, Import]]:
    """(part, import) of every import of the engine that names another part of it."""
    found = []
    for path in python_files(SOURCES):
        relative = path.relative_to(SOURCES)
        part = relative.parts[0] if len(relative.parts) > 1 else relative.stem
        if part == "__init__":
            continue
        found += [(part, item) for item in imports(path) if item.part and item.part != part]
    return found


def told(problems: Iterable[object]) -> str:
    return "\n" + "\n".join(str(problem) for problem in problems)


def test_the_graph_is_not_empty() -> None:
    """A test over nothing would pass for ever."""
    found = {(part, item.part) for part, item in engine_imports()}
    assert {("flow", "detect"), ("detect", "warehouse"), ("store", "core"), ("cli", "flow")} <= found
    assert len(python_files(SOURCES)) > 100
    assert list((ROOT / "dags").glob("*.py"))


def test_every_part_has_its_place() -> None:
    assert set(MAY_IMPORT) == PARTS, "a new part of the engine needs its line in MAY_IMPORT and in docs/architecture.md"


def test_imports_point_downwards_only() -> None:
    wrong = [item for part, item in engine_imports() if item.part not in MAY_IMPORT[part]]
    assert not wrong, told(wrong)


def test_forbidden_pairs_are_forbidden_by_the_table() -> None:
    """What the table must never come to allow."""
    assert "cases" not in MAY_IMPORT["detect"]
    assert "detect" not in MAY_IMPORT["ingest"]
    assert {part for part, below in MAY_IMPORT.items() if "cli" in below} == {"__main__"}
    assert {part for part, below in MAY_IMPORT.items() if "simulate" in below} == {"cli", "flow"}
    assert {part for part, below in MAY_IMPORT.items() if "quality" in below} == {"cli"}
    assert "simulate" not in MAY_IMPORT["quality"]
    assert all(FACADE not in below for below in MAY_IMPORT.values())


def test_nothing_reaches_a_forbidden_part_on_a_way_round() -> None:
    graph: dict[str, set[str]] = {part: set() for part in MAY_IMPORT}
    for part, item in engine_imports():
        graph[part].add(item.part)

    def reached(part: str, seen: frozenset[str] = frozenset()) -> set[str]:
        below = graph[part] - seen
        return below | {far for near in below for far in reached(near, seen | below)}

    assert "cases" not in reached("detect")
    assert "detect" not in reached("ingest")
    assert reached("simulate") <= {"core"}
    assert reached("quality") <= {"core"}
    assert not reached("core")
    for part in set(MAY_IMPORT) - {"cli", "flow", "__main__"}:
        assert not {"flow", "cli", "simulate", "quality"} & reached(part), part


def test_no_part_of_the_engine_imports_dags_or_tests() -> None:
    wrong = [
        item
        for path in python_files(SOURCES)
        for item in imports(path)
        if item.module.split(".")[0] in {"dags", "tests", "benchmarks", "pipelines", "detectors", "rules"}
    ]
    assert not wrong, told(wrong)


def test_airflow_is_imported_in_few_places() -> None:
    """The extra `airflow` is optional: its names stand in the modules that run under Airflow, and in no other."""
    using = {
        path.relative_to(SOURCES).as_posix()
        for path in python_files(SOURCES)
        for item in imports(path)
        if item.module.split(".")[0] == "airflow"
    }
    assert using <= {"flow/dagkit.py", "flow/airflow_local.py", "flow/airflow_parse.py"}, using


def test_content_imports_authoring_only() -> None:
    files = python_files(ROOT / "detectors") + python_files(ROOT / "pipelines")
    wrong: list[object] = [
        item
        for path in files
        for item in imports(path)
        if item.module.split(".")[0] in {"fangcuan", "airflow", "dags"} and item.part != FACADE
    ]
    for path in files:
        kind, unit, name = path.relative_to(ROOT).parts[0], path.parent.parent, path.name
        expected = {"detectors": "model.py", "pipelines": "extract.py"}[kind]
        if name != expected or unit.name != kind:
            wrong.append(f"{path.relative_to(ROOT)}: expected {kind}/<id>/{expected}; the engine reads no other file")
    assert not wrong, told(wrong)


def test_rules_and_shared_sql_hold_no_python() -> None:
    assert not python_files(ROOT / "rules")
    assert not python_files(ROOT / "sql")
    assert list((ROOT / "rules").glob("*/*.yml"))


def test_content_folders_are_no_packages() -> None:
    """An `__init__.py` there would let another installed `detectors` win; see docs/decisions/0001."""
    found = [path for kind in ("rules", "detectors", "pipelines", "sql") for path in (ROOT / kind).rglob("__init__.py")]
    assert not found


def test_dag_files_import_airflow_sdk_the_standard_library_and_flow() -> None:
    wrong = []
    for path in python_files(ROOT / "dags"):
        for item in imports(path):
            top = item.module.split(".")[0]
            sdk = item.module == "airflow.sdk" or item.module.startswith("airflow.sdk.")
            if not (sdk or top in sys.stdlib_module_names or item.part == "flow"):
                wrong.append(item)
    assert not wrong, told(wrong)
