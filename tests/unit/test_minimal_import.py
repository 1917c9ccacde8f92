"""The package without its extra, and what `import fangcuan.flow` costs a DAG file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BLOCKED = """
import importlib, pkgutil, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "airflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
# Modules that run inside Airflow and have no use without it.
UNDER_AIRFLOW = {"fangcuan.flow.dagkit", "fangcuan.flow.airflow_local", "fangcuan.flow.airflow_parse"}

def walk(name):
    yield name
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        for item in pkgutil.iter_modules(module.__path__, name + "."):
            if item.name not in UNDER_AIRFLOW and not item.name.endswith((".migrations.env", "__main__")):
                yield from walk(item.name)

for part in sys.argv[1:]:
    names = list(walk(part))
    print(part, len(names))
assert not any(name.split(".")[0] == "airflow" for name in sys.modules)
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_core_cli_and_flow_import_without_airflow() -> None:
    out = run(BLOCKED, "fangcuan.core", "fangcuan.cli", "fangcuan.flow")
    counted = dict(line.split() for line in out.splitlines())
    assert set(counted) == {"fangcuan.core", "fangcuan.cli", "fangcuan.flow"}
    assert all(int(number) > 3 for number in counted.values()), "modules were not found"


def test_the_command_runs_without_airflow() -> None:
    code = BLOCKED.split("# Modules")[0] + (
        "from fangcuan.cli.main import app\nfrom typer.testing import CliRunner\n"
        "done = CliRunner().invoke(app, ['rules', 'list', '--json'])\nassert done.exit_code == 0, done.output\n"
        "print(done.output.count('\"digest\"'))\n"
    )
    assert int(run(code)) > 0


@pytest.mark.parametrize("module", ["fangcuan.flow", "fangcuan.flow.pools", "fangcuan.settings", "fangcuan.cli.main"])
def test_importing_is_light(module: str) -> None:
    """Airflow parses DAG files over and over, and a command line answers `--help` at once."""
    heavy = ["duckdb", "pandas", "sklearn", "great_expectations", "pyarrow", "numpy", "sqlglot", "airflow"]
    if not module.startswith("fangcuan.cli"):
        heavy += ["sqlalchemy", "pydantic"]
    code = f"import sys, {module}\nprint([n for n in {heavy!r} if n in sys.modules])"
    assert run(code).strip() == "[]"
