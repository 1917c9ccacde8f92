"""The state machine of a case as data: read from `workflow.yml`, checked when it is loaded."""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Flag = Literal["initial", "open", "decided", "wakes"]
Guard = Literal["reason", "outcome", "note"]


class WorkflowError(Exception):
    """The workflow file is wrong; one line per problem, `path:line: what, expected`."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Label(_Strict):
    zh: str
    en: str


class Status(_Strict):
    label: Label
    flags: frozenset[Flag]


class Role(_Strict):
    """`scope`: what it may be granted for; `apart`: whoever holds it holds no other role."""

    label: Label
    scope: Literal["none", "area", "partner"] = "none"
    holder: Literal["person", "service"] = "person"
    apart: bool = False


class Administration(_Strict):
    """A command on accounts; with `own`, everyone may give it for his own."""

    command: str
    roles: tuple[str, ...] = Field(min_length=1)
    own: bool = False


class Transition(_Strict):
    """`from_` are the statuses it may start in. `wake` marks the one that filing uses to bring a decided case back."""

    command: str
    from_: tuple[str, ...] = Field(alias="from", min_length=1)
    to: str
    roles: tuple[str, ...] = Field(min_length=1)
    guards: tuple[Guard, ...] = ()
    reasons: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    wake: bool = False


class Work(_Strict):
    """A command that changes who holds a case, and no status. `own`: roles that may give it for cases they hold."""

    command: str
    while_: Flag = Field(alias="while")
    roles: tuple[str, ...] = Field(min_length=1)
    own: tuple[str, ...] = ()
    assignee: Literal["self", "given", "nobody"]


class Remark(_Strict):
    """A command that writes beside a case and changes nothing of it."""

    command: str
    roles: tuple[str, ...] = Field(min_length=1)
    amends: bool = False


class Workflow(_Strict):
    version: Literal[1]
    roles: dict[str, Role] = Field(min_length=1)
    administration: tuple[Administration, ...] = ()
    work: tuple[Work, ...] = ()
    remarks: tuple[Remark, ...] = ()
    statuses: dict[str, Status] = Field(min_length=1)
    transitions: tuple[Transition, ...] = Field(min_length=1)

    def has(self, status: str, flag: Flag) -> bool:
        return flag in self.statuses[status].flags

    @property
    def initial(self) -> str:
        return next(name for name, status in self.statuses.items() if "initial" in status.flags)

    @property
    def wake(self) -> Transition:
        return next(transition for transition in self.transitions if transition.wake)

    def commands(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(transition.command for transition in self.transitions))

    def answers(self, command: str) -> tuple[str, ...]:
        """Reasons or outcomes that a command may state, over all statuses it starts in."""
        mine = (transition for transition in self.transitions if transition.command == command)
        return tuple(dict.fromkeys(answer for each in mine for answer in (*each.reasons, *each.outcomes)))

    def administrative(self, command: str) -> Administration:
        """The command on accounts of this name. Raises KeyError for one that the file does not have."""
        for each in self.administration:
            if each.command == command:
                return each
        raise KeyError(command)

    def working(self, command: str, status: str) -> Work | None:
        """The command on who holds a case, or None where it is not offered in this status."""
        offered = (each for each in self.work if each.command == command and self.has(status, each.while_))
        return next(offered, None)

    def remark(self, command: str) -> Remark | None:
        """The command that writes beside a case, in whatever status, or None."""
        return next((each for each in self.remarks if each.command == command), None)

    def offered(self, status: str) -> list[str]:
        """Commands that a person can give in a status, sorted."""
        moving = {each.command for each in self.transitions if status in each.from_ and not each.wake}
        working = {each.command for each in self.work if self.has(status, each.while_)}
        return sorted(moving | working | {each.command for each in self.remarks})

    def transition(self, command: str, status: str) -> Transition | None:
        """The transition that `command` means in `status`, or None where it is not offered there."""
        for transition in self.transitions:
            if transition.command == command and status in transition.from_:
                return transition
        return None


def load(path: Path) -> Workflow:
    """The workflow in a YAML file. Raises WorkflowError naming file, line, what is wrong and what was expected."""
    return parse(path.read_text(encoding="utf-8"), str(path))


@cache
def default() -> Workflow:
    """The workflow that ships with the package."""
    source = resources.files("fangcuan.cases") / "workflow.yml"
    return parse(source.read_text(encoding="utf-8"), "workflow.yml")


def parse(text: str, name: str) -> Workflow:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise WorkflowError(f"{name}:{line}: {error.problem}; expected YAML") from error
    lines: dict[tuple[Any, ...], int] = {}
    problems: list[tuple[int, str]] = []
    value = _plain(root, (), lines, problems) if root is not None else None
    if not problems:
        try:
            workflow = Workflow.model_validate(value)
        except ValidationError as error:
            problems = [(_line(lines, e["loc"]), f"{_where(e['loc'])}: {e['msg']}") for e in error.errors()]
        else:
            problems = [(_line(lines, where), message) for where, message in _contradictions(workflow)]
    if problems:
        raise WorkflowError("\n".join(f"{name}:{line}: {message}" for line, message in sorted(problems)))
    return workflow


def _plain(node: yaml.Node, at: tuple[Any, ...], lines: dict[Any, int], problems: list[tuple[int, str]]) -> Any:
    """The node as plain values; fills `lines` with the line of every position, and reports keys that stand twice."""
    lines[at] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if key in found:
                problems.append((key_node.start_mark.line + 1, f"{_where((*at, key))}: stands twice; expected once"))
            found[key] = _plain(value_node, (*at, key), lines, problems)
            lines[(*at, key)] = key_node.start_mark.line + 1
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, index), lines, problems) for index, item in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node)


def _contradictions(workflow: Workflow) -> list[tuple[tuple[Any, ...], str]]:
    """What each value alone cannot show: names that do not exist, flags that exclude each other, ambiguous commands."""
    found: list[tuple[tuple[Any, ...], str]] = []
    flags = Counter(flag for status in workflow.statuses.values() for flag in status.flags)
    if flags["initial"] != 1:
        found.append((("statuses",), f"{flags['initial']} statuses are flagged initial; expected exactly one"))
    for name, status in workflow.statuses.items():
        where = ("statuses", name)
        if "initial" in status.flags and "open" not in status.flags:
            found.append((where, f"{name} is initial and not open; a case opens in it, so flag it open"))
        if status.flags >= {"open", "wakes"} or status.flags >= {"open", "decided"}:
            found.append((where, f"{name} is open and decided or wakes; expected either"))
        if "wakes" in status.flags and "decided" not in status.flags:
            found.append((where, f"{name} wakes and is not decided; only a decision has a cut-off to wake after"))
    for index, each in enumerate(workflow.administration):
        found += _unknown_roles(workflow, ("administration", index), each.roles)
    moving = set(workflow.commands())
    for index, one in enumerate(workflow.work):
        found += _unknown_roles(workflow, ("work", index), (*one.roles, *one.own))
    for index, remark in enumerate(workflow.remarks):
        found += _unknown_roles(workflow, ("remarks", index), remark.roles)
    beside = {"work": [one.command for one in workflow.work], "remarks": [one.command for one in workflow.remarks]}
    for kind, commands in beside.items():
        for index, command in enumerate(commands):
            if command in moving:
                found.append(((kind, index), f"{command} stands elsewhere as well; expected once"))
            moving.add(command)
    seen: dict[tuple[str, str], int] = {}
    for index, transition in enumerate(workflow.transitions):
        at = ("transitions", index)
        for key, names in (("from", transition.from_), ("to", (transition.to,))):
            for name in names:
                if name not in workflow.statuses:
                    found.append(((*at, key), f"unknown status {name!r}; known: {', '.join(workflow.statuses)}"))
        found += _unknown_roles(workflow, at, transition.roles)
        for guard, listed in (("reason", transition.reasons), ("outcome", transition.outcomes)):
            if (guard in transition.guards) != bool(listed):
                found.append((at, f"{transition.command}: guard {guard!r} and its list {guard}s go together"))
        for status_name in transition.from_:
            if (transition.command, status_name) in seen:
                found.append((at, f"{transition.command} from {status_name} stands twice; expected once"))
            seen[(transition.command, status_name)] = index
    found += _wake_problems(workflow)
    return found


def _unknown_roles(
    workflow: Workflow, at: tuple[Any, ...], roles: tuple[str, ...]
) -> list[tuple[tuple[Any, ...], str]]:
    known = ", ".join(workflow.roles)
    return [((*at, "roles"), f"unknown role {role!r}; known: {known}") for role in roles if role not in workflow.roles]


def _wake_problems(workflow: Workflow) -> list[tuple[tuple[Any, ...], str]]:
    wakes = [(index, t) for index, t in enumerate(workflow.transitions) if t.wake]
    if len(wakes) != 1:
        return [(("transitions",), f"{len(wakes)} transitions are marked wake; expected exactly one")]
    index, wake = wakes[0]
    found: list[tuple[tuple[Any, ...], str]] = []
    waking = {name for name, status in workflow.statuses.items() if "wakes" in status.flags}
    if waking != set(wake.from_):
        message = f"wake starts in {sorted(wake.from_)}; expected {sorted(waking)}, the statuses flagged wakes"
        found.append((("transitions", index, "from"), message))
    if wake.to in workflow.statuses and not workflow.has(wake.to, "open"):
        found.append((("transitions", index, "to"), f"wake leads to {wake.to}, which is not open"))
    return found


def _line(lines: dict[tuple[Any, ...], int], where: tuple[Any, ...]) -> int:
    for length in range(len(where), -1, -1):
        if where[:length] in lines:
            return lines[where[:length]]
    return 1


def _where(where: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in where) or "file"
