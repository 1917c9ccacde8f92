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
    assert {name for name in shipped.statuses if shipped.has(name, "open")} == {
        "new",
        "triaging",
        "awaiting_information",
        "pending_approval",
    }
    assert shipped.transition("triage", "new").to == "triaging"  # type: ignore[union-attr]
    assert shipped.transition("triage", "closed") is None
    assert shipped.wake.roles == ("service",)
    assert shipped.commands() == (
        "triage",
        "request_information",
        "receive_information",
        "dismiss",
        "close",
        "seal",
        "regress",
    )


def test_every_status_can_be_reached_and_left() -> None:
    shipped = workflow.default()
    steps = [*shipped.transitions, *shipped.proposals]
    reached = {place for step in steps for place in (step.to, getattr(step, "pending", None)) if place}
    left = {status for step in steps for status in step.from_} | {each.pending for each in shipped.proposals} - {None}
    assert reached == set(shipped.statuses)
    # What was sealed, and what became part of another case, is at its end.
    assert set(shipped.statuses) - left == {"merged", "sealed"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("to: triaging", "to: triagging", "unknown status 'triagging'; known: new, triaging"),
        ("roles: [analyst, supervisor]", "roles: [analist]", "unknown role 'analist'; known: analyst"),
        ("from: [new]\n", "from: [now]\n", "unknown status 'now'"),
        ("flags: [initial, open]", "flags: [open]", "0 statuses are flagged initial; expected exactly one"),
        ("flags: [initial, open]", "flags: [initial]", "new is initial and not open"),
        ("flags: [decided, wakes]", "flags: [wakes]", "confirmed wakes and is not decided"),
        ("flags: [decided, wakes]", "flags: [decided, wakes, open]", "confirmed is open and decided or wakes"),
        (
            "flags: [decided, wakes]",
            "flags: [decided, awake]",
            "Input should be 'initial', 'open', 'decided', 'wakes' or 'joined'",
        ),
        ("guards: [reason, note]", "guards: [note]", "guard 'reason' and its list reasons go together"),
        ("guards: [note]", "guards: [notes]", "Input should be 'reason', 'outcome', 'class', 'note'"),
        ("    wake: true", "    wake: false", "0 transitions are marked wake; expected exactly one"),
        ("command: regress", "comand: regress", "transitions.6.command: Field required"),
        ("version: 1", "version: 1\nversion: 1", "version: stands twice; expected once"),
        (
            "command: seal\n    from: [closed",
            "command: close\n    from: [confirmed",
            "close from confirmed stands twice",
        ),
        ("kind: merge", "kind: dismiss", "dismiss stands twice; expected once"),
        (
            "    pending: pending_approval\n    to: merged",
            "    pending: closed\n    to: merged",
            "merge waits in closed",
        ),
        ("to: merged", "to: mergd", "unknown status 'mergd'"),
        ("approvers: [supervisor]", "approvers: [boss]", "unknown role 'boss'"),
        ("verdict: rejected", "verdict: approved", "expected exactly one command each for: approved, rejected"),
        ("    severities: [low, medium]\n", "", "guard 'low_impact' needs severities"),
        ("lays: attention,", "lifts: attention, lays: attention,", "escalate: expected either lays or lifts"),
        ("flags: [decided, joined]", "flags: [decided, wakes, joined]", "merged is joined"),
        ("command: snooze", "command: claim", "claim stands elsewhere as well"),
        ("  price: [policy_in_force", "  prices: [policy_in_force", "unknown family 'prices'"),
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
    text = SHIPPED.replace("natural_flow, data_error]", "natural_flow, data_error, recalled]")
    changed = workflow.parse(text.replace("[settled, warned,", "[paid, warned,"), "workflow.yml")
    monkeypatch.setattr(workflow, "default", lambda: changed)
    found = {name: command for name, command in commands() if name.endswith((" dismiss", " close"))}
    shown = {
        name: {parameter.name: parameter.help for parameter in command.get_params(typer.Context(command))}
        for name, command in found.items()
    }
    assert "data_error, recalled." in shown["fangcuan cases dismiss"]["reason"]
    assert shown["fangcuan cases close"]["outcome"] == "paid, warned, penalised, no_action."
