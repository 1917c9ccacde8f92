"""What is told of the libraries that judged: the same wherever they are installed, another for another content."""

from __future__ import annotations

from pathlib import Path

import pytest

from fangcuan.flow.pinned import _library


def installed(folder: Path, record: str) -> None:
    """A library `judge` as an installer leaves it in a folder of its own."""
    info = folder / "judge-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: judge\nVersion: 1.0\n", encoding="utf-8")
    (info / "RECORD").write_text(record, encoding="utf-8")


def told(folder: Path, record: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    installed(folder, record)
    _library.cache_clear()
    with monkeypatch.context() as patched:
        patched.syspath_prepend(str(folder))
        return _library("judge")


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    _library.cache_clear()


CODE = "judge/__init__.py,sha256=aaaa,10\n"


def test_where_a_library_is_installed_says_nothing_of_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = told(
        tmp_path / "a", f"{CODE}../../../bin/judge,sha256=bbbb,300\njudge-1.0.dist-info/RECORD,,\n", monkeypatch
    )
    second = told(
        tmp_path / "b",
        f"../../../bin/judge,sha256=cccc,310\n{CODE}judge/__pycache__/__init__.cpython-311.pyc,,\n"
        "judge-1.0.dist-info/INSTALLER,sha256=dddd,2\n",
        monkeypatch,
    )
    assert first == second
    assert first["version"] == "1.0"
    other = told(tmp_path / "c", CODE.replace("aaaa", "eeee"), monkeypatch)
    assert other["version"] == "1.0"
    assert other["sha256"] != first["sha256"]
