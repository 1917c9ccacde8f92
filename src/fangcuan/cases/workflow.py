"""The state machine of a case as data: read from `workflow.yml`, checked when it is loaded."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Flag = Literal["initial", "open", "decided", "wakes", "joined"]
Guard = Literal[
    "reason",
    "outcome",
    "class",
    "note",
    "low_impact",
    "review",
    "target",
    "parts",
    "checklist",
    "sufficiency",
    "corroboration",
    "appeal_window",
    "not_held",
    "penalty_ended",
    "no_penalty",
    "amount",
]


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


class PenaltyStatus(_Strict):
    label: Label
    flags: frozenset[Literal["stands", "final"]] = frozenset()


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


class Guarded(_Strict):
    """What a step demands. The lists say what may be stated; `days`, `severities` and `review_share` belong to guards."""

    guards: tuple[Guard, ...] = ()
    reasons: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    severities: tuple[Literal["low", "medium", "high"], ...] = ()
    review_share: float = Field(default=0, ge=0, le=1)
    days: int = Field(default=0, ge=0)

    def listed(self, guard: str) -> tuple[str, ...]:
        """What may be stated where this guard asks for one of a list; empty for other guards."""
        return {"reason": self.reasons, "outcome": self.outcomes, "class": self.classes}.get(guard, ())


class Transition(Guarded):
    """`from_` are the statuses it may start in. `wake` marks the one that filing uses to bring a decided case back."""

    command: str
    from_: tuple[str, ...] = Field(alias="from", min_length=1)
    to: str
    roles: tuple[str, ...] = Field(min_length=1)
    wake: bool = False


class PenaltyStep(_Strict):
    """What an approved proposal does to the penalty of its case: makes one in `to`, or takes it from `from_` there."""

    from_: tuple[str, ...] = Field(default=(), alias="from")
    to: str


class Proposal(Guarded):
    """A step that one person proposes and another one decides. `pending`: where the case waits; `to`: where it leads.

    `apart`: nobody decides who had a part in the penalty; `action` is asked of the legal gate.
    """

    kind: str
    from_: tuple[str, ...] = Field(alias="from", min_length=1)
    pending: str | None = None
    to: str | None = None
    roles: tuple[str, ...] = Field(min_length=1)
    approvers: tuple[str, ...] = Field(min_length=1)
    apart: bool = False
    action: str | None = None
    penalty: PenaltyStep | None = None


class Verdict(Guarded):
    """What becomes of an open proposal; `own`: its proposer says so, otherwise one of its approvers."""

    command: str
    verdict: Literal["approved", "returned", "rejected", "withdrawn"]
    own: bool = False


class Work(_Strict):
    """A command that changes who holds a case, and no status. `own`: roles that may give it for cases they hold."""

    command: str
    while_: Flag = Field(alias="while")
    roles: tuple[str, ...] = Field(min_length=1)
    own: tuple[str, ...] = ()
    assignee: Literal["self", "given", "nobody"]


class Overlay(Guarded):
    """A command that lays something over the status, or lifts it; `while_` None: in every status."""

    command: str
    while_: Flag | None = Field(default=None, alias="while")
    roles: tuple[str, ...] = Field(min_length=1)
    lays: Literal["attention", "snooze", "hold"] | None = None
    lifts: Literal["attention", "snooze", "hold"] | None = None


class Remark(_Strict):
    """A command that writes beside a case and changes nothing of it."""

    command: str
    roles: tuple[str, ...] = Field(min_length=1)
    writes: Literal["comment", "amendment", "attachment", "link", "review"]


class Letter(Guarded):
    """Correspondence with the partner; `while_` None: in every status. `action` is asked of the legal gate."""

    command: str
    while_: Flag | None = Field(default=None, alias="while")
    roles: tuple[str, ...] = Field(min_length=1)
    does: Literal["request", "letter", "extend", "answer"]
    action: str = "observe"


class Sanction(Guarded):
    """What is done with a penalty that was agreed. `from_` and `to` are statuses of the penalty, not of the case."""

    command: str
    from_: tuple[str, ...] = Field(alias="from", min_length=1)
    to: str | None = None
    roles: tuple[str, ...] = Field(min_length=1)
    does: Literal["issue", "appeal", "settle", "tell"]
    action: str | None = None


class Labelling(_Strict):
    """`right`, `wrong` or `unclear`, and where a mistake goes to be mended."""

    label: Literal["right", "wrong", "unclear"]
    route: str | None


#: The command that opens a proposal; its `kind` says which.
PROPOSE = "propose"
Order = Transition | Proposal | Verdict | Work | Overlay | Remark | Letter | Sanction


class Export(_Strict):
    """A profile of exported cases, and the roles that may take one."""

    profile: str
    roles: tuple[str, ...] = Field(min_length=1)


class Policy(_Strict):
    """Who proposes a kind of policy (a master table, or `units`), and who approves it; never one person both."""

    propose: tuple[str, ...] = Field(min_length=1)
    approve: tuple[str, ...] = Field(min_length=1)


class Workflow(_Strict):
    version: Literal[1]
    roles: dict[str, Role] = Field(min_length=1)
    policies: dict[str, Policy] = {}
    administration: tuple[Administration, ...] = ()
    exceptions: tuple[Administration, ...] = ()
    work: tuple[Work, ...] = ()
    overlays: tuple[Overlay, ...] = ()
    remarks: tuple[Remark, ...] = ()
    exports: tuple[Export, ...] = ()
    letters: tuple[Letter, ...] = ()
    statuses: dict[str, Status] = Field(min_length=1)
    penalty_statuses: dict[str, PenaltyStatus] = Field(default_factory=dict)
    sanctions: tuple[Sanction, ...] = ()
    transitions: tuple[Transition, ...] = Field(min_length=1)
    proposals: tuple[Proposal, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    checklists: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    corroborated: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    labels: dict[Literal["right", "wrong"], tuple[str, ...]] = Field(default_factory=dict)
    routes: dict[str, str] = Field(default_factory=dict)

    def has(self, status: str, flag: Flag) -> bool:
        return flag in self.statuses[status].flags

    @property
    def initial(self) -> str:
        return next(name for name, status in self.statuses.items() if "initial" in status.flags)

    @property
    def wake(self) -> Transition:
        return next(transition for transition in self.transitions if transition.wake)

    def commands(self) -> tuple[str, ...]:
        """Commands that change a status by themselves."""
        return tuple(dict.fromkeys(transition.command for transition in self.transitions))

    def answers(self, command: str) -> tuple[str, ...]:
        """Reasons or outcomes that a command may state, over all statuses it starts in."""
        mine = (transition for transition in self.transitions if transition.command == command)
        return tuple(dict.fromkeys(answer for each in mine for answer in (*each.reasons, *each.outcomes)))

    def administrative(self, command: str) -> Administration:
        """The command on accounts, or on the casebook as a whole. Raises KeyError for one that the file does not have."""
        for each in (*self.administration, *self.exceptions):
            if each.command == command:
                return each
        raise KeyError(command)

    def exporting(self, profile: str) -> tuple[str, ...]:
        """Roles that may export a case under a profile; none for one that the file does not have."""
        return next((each.roles for each in self.exports if each.profile == profile), ())

    def proposal(self, kind: str) -> Proposal:
        """The kind of proposal of this name. Raises KeyError for one that the file does not have."""
        for each in self.proposals:
            if each.kind == kind:
                return each
        raise KeyError(kind)

    def label_of(self, outcome: str | None) -> Labelling:
        """What an outcome or reason says about findings; `unclear` where the file does not say."""
        route = self.routes.get(str(outcome))
        for name, outcomes in self.labels.items():
            if outcome in outcomes:
                return Labelling(label=name, route=route)
        return Labelling(label="unclear", route=route)

    def policy(self, kind: str) -> Policy:
        """Who proposes and approves policies of a kind. Raises KeyError for one that the file does not have."""
        return self.policies[kind]

    def stands(self, penalty: str | None) -> bool:
        """Whether a penalty in this status counts; False where there is none."""
        return penalty is not None and "stands" in self.penalty_statuses[penalty].flags

    def in_course(self, penalty: str | None) -> bool:
        """Whether something is still to be done with a penalty in this status; False where there is none."""
        return penalty is not None and "final" not in self.penalty_statuses[penalty].flags

    def orders(self, status: str, *, proposed: bool, penalty: str | None = None) -> list[Order]:
        """Everything a person can do with a case in a status; `proposed`: whether a proposal about it is open; `penalty`: the
        status of its latest penalty."""
        waiting = any(each.pending == status for each in self.proposals)
        found: list[Order] = [each for each in self.transitions if status in each.from_ and not each.wake]
        if not proposed and not waiting:
            found += [each for each in self.proposals if status in each.from_ and self._fits(each.penalty, penalty)]
        if proposed:
            found += self.verdicts
        found += [each for each in self.work if self.has(status, each.while_)]
        anywhere: tuple[Overlay | Letter, ...] = (*self.overlays, *self.letters)
        found += [each for each in anywhere if each.while_ is None or self.has(status, each.while_)]
        return [*found, *self.remarks, *(each for each in self.sanctions if penalty in each.from_)]

    def _fits(self, step: PenaltyStep | None, penalty: str | None) -> bool:
        """One penalty of a case stands at a time: another is made where none does."""
        if step is None:
            return True
        return penalty in step.from_ if step.from_ else not self.stands(penalty)

    def find(
        self,
        command: str,
        status: str,
        *,
        kind: str | None = None,
        proposed: bool = False,
        penalty: str | None = None,
    ) -> Order | None:
        """What a command means in a status, or None where it is not offered there; `kind` is that of a proposal."""
        for order in self.orders(status, proposed=proposed, penalty=penalty):
            if command_of(order) == command and (not isinstance(order, Proposal) or order.kind == kind):
                return order
        return None

    def offered(self, status: str, *, proposed: bool = False, penalty: str | None = None) -> list[str]:
        """Commands that a person can give in a status, sorted; proposals with their kind."""
        orders = self.orders(status, proposed=proposed, penalty=penalty)
        return sorted({command_of(each) + (f" {each.kind}" if isinstance(each, Proposal) else "") for each in orders})

    def transition(self, command: str, status: str) -> Transition | None:
        """The transition that `command` means in `status`, or None where it is not offered there."""
        for transition in self.transitions:
            if transition.command == command and status in transition.from_:
                return transition
        return None


def command_of(order: Order) -> str:
    return PROPOSE if isinstance(order, Proposal) else order.command


def load(path: Path) -> Workflow:
    """The workflow in a YAML file. Raises WorkflowError naming file, line, what is wrong and what was expected."""
    return parse(path.read_text(encoding="utf-8"), str(path))


@cache
def default() -> Workflow:
    """The workflow that ships with the package."""
    source = resources.files("fangcuan.cases") / "workflow.yml"
    return parse(source.read_text(encoding="utf-8"), "workflow.yml")


def parse(text: str, name: str) -> Workflow:
    from fangcuan.cases.workflow_checks import contradictions

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
            problems = [(_line(lines, where), message) for where, message in contradictions(workflow)]
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


def _line(lines: dict[tuple[Any, ...], int], where: tuple[Any, ...]) -> int:
    for length in range(len(where), -1, -1):
        if where[:length] in lines:
            return lines[where[:length]]
    return 1


def _where(where: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in where) or "file"
