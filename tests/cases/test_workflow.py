"""The shipped workflow is sound, and a wrong one is refused with file, line, what and what was expected."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import typer

from fangcuan.cases import workflow
from fangcuan.cases.workflow import WorkflowError
from fangcuan.cli.reference import commands

SHIPPED = (resources.files("fangcuan.cases") / "workflow.yml").read_text(encoding="utf-8")


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_the_shipped_workflow() -> None:
    shipped = workflow.default()
    assert shipped.initial == "new"
    assert {name for name in shipped.statuses if shipped.has(name, "open")} == {"new", "triaging"}
    assert shipped.transition("triage", "new").to == "triaging"  # type: ignore[union-attr]
    assert shipped.transition("triage", "closed") is None
    assert shipped.wake.roles == ("service",)
    assert shipped.commands() == ("triage", "dismiss", "close", "reopen", "regress")


def test_every_status_can_be_reached_and_left() -> None:
    shipped = workflow.default()
    reached = {transition.to for transition in shipped.transitions}
    left = {status for transition in shipped.transitions for status in transition.from_}
    assert reached == left == set(shipped.statuses)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("to: triaging", "to: triagging", "unknown status 'triagging'; known: new, triaging"),
        ("roles: [analyst, supervisor]", "roles: [analist]", "unknown role 'analist'; known: analyst"),
        ("from: [new]\n", "from: [now]\n", "unknown status 'now'"),
        ("flags: [initial, open]", "flags: [open]", "0 statuses are flagged initial; expected exactly one"),
        ("flags: [initial, open]", "flags: [initial]", "new is initial and not open"),
        ("flags: [decided, wakes]", "flags: [wakes]", "dismissed wakes and is not decided"),
        ("flags: [decided, wakes]", "flags: [decided, wakes, open]", "dismissed is open and decided or wakes"),
        (
            "flags: [decided, wakes]",
            "flags: [decided, awake]",
            "Input should be 'initial', 'open', 'decided' or 'wakes'",
        ),
        ("guards: [reason]", "guards: []", "guard 'reason' and its list reasons go together"),
        ("guards: [note]", "guards: [notes]", "Input should be 'reason', 'outcome' or 'note'"),
        ("    wake: true", "    wake: false", "0 transitions are marked wake; expected exactly one"),
        ("command: regress", "comand: regress", "transitions.4.command: Field required"),
        ("version: 1", "version: 1\nversion: 1", "version: stands twice; expected once"),
        ("command: close", "command: dismiss", "dismiss from triaging stands twice; expected once"),
        ("version: 1", "version: [1", "expected YAML"),
    ],
)
def test_a_wrong_workflow_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SHIPPED
    text = SHIPPED.replace(old, new, 1)
    path = tmp_path / "workflow.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WorkflowError) as caught:
        workflow.load(path)
    first = str(caught.value).splitlines()[0]
    assert message in str(caught.value)
    assert first.startswith(f"{path}:")
    assert int(first.removeprefix(f"{path}:").split(":")[0]) >= 1


def test_the_line_is_the_one_that_is_wrong() -> None:
    text = SHIPPED.replace("to: closed", "to: cloesd")
    with pytest.raises(WorkflowError, match=rf"^w\.yml:{line_of(text, 'cloesd')}: unknown status 'cloesd'"):
        workflow.parse(text, "w.yml")


def test_nothing_is_no_workflow() -> None:
    for text in ("", "[]", "just words"):
        with pytest.raises(WorkflowError, match=r"^w\.yml:1: "):
            workflow.parse(text, "w.yml")


def test_the_help_of_a_command_lists_what_the_file_has(monkeypatch: pytest.MonkeyPatch) -> None:
    text = SHIPPED.replace("data_error, other]", "data_error, recalled, other]")
    changed = workflow.parse(text.replace("[confirmed, settled,", "[confirmed, paid,"), "workflow.yml")
    monkeypatch.setattr(workflow, "default", lambda: changed)
    found = {name: command for name, command in commands() if name.endswith((" dismiss", " close"))}
    shown = {
        name: {parameter.name: parameter.help for parameter in command.get_params(typer.Context(command))}
        for name, command in found.items()
    }
    assert "data_error, recalled, other." in shown["fangcuan cases dismiss"]["reason"]
    assert shown["fangcuan cases close"]["outcome"] == "confirmed, paid, warned, no_action."
