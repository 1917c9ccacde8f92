"""A case status or transition is workflow.yml: code asks for flags, and names no status."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from fangcuan.cases import workflow

SOURCES = Path(workflow.__file__).parents[1]
Run = Callable[..., tuple[int, Any]]

ESCALATED = """
  escalated: {label: {zh: 已上报, en: Escalated}, flags: [open]}

transitions:
  - command: refer
    from: [new, triaging]
    to: escalated
    roles: [analyst]
    guards: [note]
"""


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Text constants of a file, keys of dictionaries and docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            left_out.update(id(key) for key in node.keys)
        elif isinstance(node, ast.Expr):
            left_out.add(id(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.lineno, node.value


def test_no_status_is_named_in_code() -> None:
    names = list(workflow.default().statuses)
    assert len(names) >= 3
    spelled = re.compile(rf"(^|['\"])({'|'.join(names)})($|['\"])")
    files = sorted(SOURCES.rglob("*.py"))
    assert len(files) > 100
    found = [
        f"{path.relative_to(SOURCES)}:{line}: {text!r}"
        for path in files
        for line, text in literals(path)
        if spelled.search(text)
    ]
    assert not found, "ask for a flag (open, decided, wakes, initial) instead:\n" + "\n".join(found)


def test_the_search_would_find_one(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text('def f(case):\n    "closed"\n    return case.status == "closed" or {"closed": 1}\n')
    assert list(literals(path)) == [(3, "closed")]


def test_a_status_and_its_transition_are_two_entries_of_one_file(
    home: Path,
    world: Path,
    overlay: Path,
    fangcuan: Run,
    approved: Callable[[str], str],
    rule_text: str,
    night: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (resources.files("fangcuan.cases") / "workflow.yml").read_text(encoding="utf-8")
    assert text.count("\ntransitions:\n") == 1
    changed = workflow.parse(text.replace("\ntransitions:\n", ESCALATED), "workflow.yml")
    monkeypatch.setattr(workflow, "default", lambda: changed)

    rule = overlay / "rules" / "diversion" / "overlay_visits.yml"
    rule.parent.mkdir(parents=True)
    rule.write_text(rule_text, encoding="utf-8")
    approved(rule.parent.name + "." + rule.stem)
    assert fangcuan("nightly", "--world", str(world), "--date", night)[0] == 10
    (case,) = fangcuan("cases", "list", "--json")[1]["items"]
    number = case["number"]

    assert fangcuan("users", "grant", "ling", "analyst")[0] == 0
    code, said = fangcuan("cases", "act", number, "refer", "--as", "ling")
    assert code == 1
    assert "a note is needed" in said
    code, done = fangcuan("cases", "act", number, "refer", "--as", "ling", "--note", "to head office", "--json")
    assert (code, done["status"]) == (0, "escalated")
    assert [item["number"] for item in fangcuan("cases", "list", "--status", "escalated", "--json")[1]["items"]] == [
        number
    ]
    # An open case takes what later nights find, whatever its status is called.
    (result,) = fangcuan("nightly", "--world", str(world), "--date", "2026-03-19", "--json")[1]["items"]
    assert (result["cases_opened"], result["cases_attached"]) == (0, 1)
    assert fangcuan("audit", "verify")[0] == 0
