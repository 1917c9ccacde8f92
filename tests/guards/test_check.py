"""`fangcuan check` says everything that is wrong with all content at once, each complaint with its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fangcuan.cases import workflow

Run = Callable[..., tuple[int, Any]]
PLACE = re.compile(r"^(?P<path>\S+):(?P<line>\d+): (?P<message>.+)$")

SOURCE = """\
id: broken
title: {en: Broken, zh: 坏的}
connector: {kind: pigeon}
feeds:
  - relation: pigeons
"""


def put(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def complaints(said: str) -> list[tuple[str, int, str]]:
    found = [PLACE.match(line) for line in said.splitlines()]
    return [(Path(m["path"]).name, int(m["line"]), m["message"]) for m in found if m]


def test_every_error_of_several_files_is_told_at_once(overlay: Path, fangcuan: Run, rule_text: str) -> None:
    put(overlay, "rules/diversion/no_quiet.yml", rule_text.split("  - name: one code")[0])
    put(
        overlay,
        "rules/diversion/wrong_words.yml",
        rule_text.replace("role: case", "role: verdict").replace("owner: tests\n", ""),
    )
    put(overlay, "rules/price/not_yaml.yml", "id: [price.not_yaml\n")
    put(overlay, "pipelines/broken/source.yml", SOURCE)
    code, said = fangcuan("check")
    assert code == 1
    found = complaints(said)
    assert {name for name, _, _ in found} == {"no_quiet.yml", "wrong_words.yml", "not_yaml.yml", "source.yml"}
    by_file = {name: [(line, text) for n, line, text in found if n == name] for name, _, _ in found}
    assert any("no quiet test" in text for _, text in by_file["no_quiet.yml"])
    assert any("id 'diversion.overlay_visits'" in text and line == 1 for line, text in by_file["no_quiet.yml"])
    assert any(line == 3 and "verdict" in text for line, text in by_file["wrong_words.yml"])
    assert any("owner" in text for _, text in by_file["wrong_words.yml"])
    told = dict(by_file["source.yml"])
    assert "'pigeon' is not known; expected one of epcis, files" in told[3]
    assert "'pigeons' is not a relation" in told[5]
    assert any("'owner' is missing" in text for text in told.values())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select * from read_parquet('/etc/passwd')", "read_parquet"),
        ("delete from inspections", "one select"),
        ("select * from no_such_relation", "no_such_relation"),
        ("select now() as window_start from inspections", "now"),
        ("select $undeclared from inspections", "undeclared"),
    ],
)
def test_a_rule_reads_declared_relations_and_nothing_else(
    overlay: Path, fangcuan: Run, rule_text: str, query: str, said: str
) -> None:
    head, rest = rule_text.split("query: |\n")
    after = rest[rest.index("explanation:") :]
    put(overlay, "rules/diversion/overlay_visits.yml", f"{head}query: |\n  {query}\n{after}")
    code, output = fangcuan("check")
    assert code == 1
    found = complaints(output)
    assert any(said in text for _, _, text in found), output
    assert all(name == "overlay_visits.yml" and line >= 9 for name, line, _ in found), found


def test_a_broken_workflow_is_a_complaint_like_any_other(fangcuan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> workflow.Workflow:
        return workflow.parse(
            "version: 1\nroles: {a: {label: {zh: 甲, en: A}}}\nstatuses: {}\ntransitions: []\n", "workflow.yml"
        )

    monkeypatch.setattr(workflow, "default", broken)
    code, said = fangcuan("check")
    assert code == 1
    assert [(name, line) for name, line, _ in complaints(said)] == [("workflow.yml", 3), ("workflow.yml", 4)]


def test_shipped_content_is_in_order(fangcuan: Run) -> None:
    code, said = fangcuan("check")
    assert code == 0, said


HEAD = "id: partly\ntitle: {en: Partly, zh: 部分}\nowner: me\n"
REST = "connector: {kind: files, path: x.csv}\nfeeds: [{relation: sales, identity: true}]\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "the file is empty; expected id, title, owner, connector and feeds; see docs/sources.md"),
        (
            HEAD + REST.replace("[{relation: sales, identity: true}]", "[]"),
            5,
            "feeds: empty; expected at least 1; write one",
        ),
        (
            HEAD + REST.replace(" [{relation: sales, identity: true}]", ""),
            5,
            "feeds: nothing is written here; expected a list, each item on a line that begins with -; write it",
        ),
        (
            HEAD + REST.replace("{relation: sales, identity: true}", "sales"),
            5,
            "feeds.0: 'sales' does not fit; expected keys of its own: expect, identity, ignore,",
        ),
        (
            HEAD.replace("{en: Partly, zh: 部分}", "") + REST,
            2,
            "title: nothing is written here; expected keys of its own: en, zh",
        ),
        (HEAD.replace("owner: me", 'owner: ""') + REST, 3, "owner: empty; expected text; write it"),
        (HEAD.replace("owner: me", "owner:") + REST, 3, "owner: nothing is written here; expected text; write it"),
        (HEAD + "schedule: hourly\n" + REST, 4, "schedule: 'hourly' does not fit; expected 'nightly' or 'intraday'"),
        (HEAD + REST.replace("identity: true", "identity: maybe"), 5, "'maybe' does not fit; expected true or false"),
    ],
)
def test_a_source_that_is_empty_or_partly_filled_is_told_in_the_words_of_yaml(
    overlay: Path, fangcuan: Run, text: str, line: int, said: str
) -> None:
    put(overlay, "pipelines/partly/source.yml", text)
    code, output = fangcuan("check")
    assert code == 1
    (found,) = [(at, message) for name, at, message in complaints(output) if name == "source.yml"]
    assert found[0] == line
    assert said in found[1]
    assert "Tuple" not in output
    assert "Input should" not in output
