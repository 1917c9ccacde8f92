"""The wheel carries the content and works without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline by the declared build backend, as `pip install .` would."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("fangcuan-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installer does with a pure wheel: unpack it into a folder on the path."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    """`python -m fangcuan` from the wheel; the editable installation of this checkout must not be what answers."""
    code = (
        "import sys, runpy, fangcuan, pathlib\n"
        f"assert pathlib.Path(fangcuan.__file__).is_relative_to({str(installed)!r}), fangcuan.__file__\n"
        f"sys.argv = ['fangcuan', *{list(arguments)!r}]\n"
        "runpy.run_module('fangcuan', run_name='__main__')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    environment.pop("FANGCUAN_CONTENT", None)
    environment.pop("FANGCUAN_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_content_lies_in_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for kind, pattern in (("rules", "*/*.yml"), ("sql", "*/*.sql"), ("pipelines", "*/*"), ("detectors", "*/*")):
        files = [p for p in (ROOT / kind).glob(pattern) if p.is_file() and p.suffix != ".pyc"]
        assert files or kind == "detectors", kind
        missing = {f"fangcuan/_content/{p.relative_to(ROOT).as_posix()}" for p in files} - names
        assert not missing
    shipped = {f"fangcuan/cases/policies/shipped/{name}" for name in ("legal_gate.csv", "jurisdictions.csv")}
    shipped.add("fangcuan/cases/policies/shipped/notices/us_price_policy.yml")
    for name in (
        "fangcuan/cases/workflow.yml",
        "fangcuan/py.typed",
        "fangcuan/store/migrations/script.py.mako",
        *shipped,
    ):
        assert name in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "dags/", "docs/")) or "__pycache__" in name]


def test_the_command_is_declared(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert "fangcuan = fangcuan.cli.main:app" in archive.read(entry).decode()


@pytest.mark.slow
def test_rules_are_listed_and_an_installation_is_made_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, tmp_path, "rules", "list")
    expected = [f"{path.parent.name}.{path.stem}" for path in (ROOT / "rules").glob("*/*.yml")]
    assert expected
    assert all(unit in listed for unit in expected)
    assert "in order" in run(installed, tmp_path, "check")
    assert "newly approved" in run(installed, tmp_path, "init", "--home", "home")
    assert (tmp_path / "home" / "casebook.db").is_file()
