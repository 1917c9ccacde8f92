"""What each value of a workflow alone cannot show: names that do not exist, flags that exclude each other, ambiguity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from fangcuan.cases.workflow import PROPOSE, Guarded, Workflow
from fangcuan.core.finding import FAMILIES

#: Where in the file, and what is wrong there.
Found = list[tuple[tuple[Any, ...], str]]


def contradictions(workflow: Workflow) -> Found:
    return [
        *_flags(workflow),
        *_beside(workflow),
        *_transitions(workflow),
        *_wake_problems(workflow),
        *_proposals(workflow),
        *_penalties(workflow),
        *_families(workflow),
        *_labels(workflow),
    ]


def _flags(workflow: Workflow) -> Found:
    found: Found = []
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
        if "joined" in status.flags and (status.flags & {"open", "wakes"} or "decided" not in status.flags):
            found.append((where, f"{name} is joined; expected the flags decided and joined alone"))
    return found


def _beside(workflow: Workflow) -> Found:
    """Commands beside the transitions: roles there are, and every name once."""
    found: Found = []
    for index, each in enumerate(workflow.administration):
        found += _unknown_roles(workflow, ("administration", index), each.roles)
    for index, each in enumerate(workflow.exceptions):
        found += _unknown_roles(workflow, ("exceptions", index), each.roles)
    for kind, policy in workflow.policies.items():
        found += _unknown_roles(workflow, ("policies", kind), (*policy.propose, *policy.approve))
    for index, work in enumerate(workflow.work):
        found += _unknown_roles(workflow, ("work", index), (*work.roles, *work.own))
    for index, remark in enumerate(workflow.remarks):
        found += _unknown_roles(workflow, ("remarks", index), remark.roles)
    for index, overlay in enumerate(workflow.overlays):
        found += _unknown_roles(workflow, ("overlays", index), overlay.roles)
        if (overlay.lays is None) == (overlay.lifts is None):
            found.append((("overlays", index), f"{overlay.command}: expected either lays or lifts"))
        found += _lists(("overlays", index), overlay.command, overlay)
    for index, export in enumerate(workflow.exports):
        found += _unknown_roles(workflow, ("exports", index), export.roles)
    for index, letter in enumerate(workflow.letters):
        found += _unknown_roles(workflow, ("letters", index), letter.roles)
        found += _lists(("letters", index), letter.command, letter)
    for index, verdict in enumerate(workflow.verdicts):
        found += _lists(("verdicts", index), verdict.command, verdict)
    taken = {*workflow.commands(), *([PROPOSE] if workflow.proposals else [])}
    groups: dict[str, Iterable[Any]] = {
        "work": workflow.work,
        "overlays": workflow.overlays,
        "remarks": workflow.remarks,
        "letters": workflow.letters,
        "sanctions": workflow.sanctions,
        "verdicts": workflow.verdicts,
    }
    for kind, commands in groups.items():
        for index, each in enumerate(commands):
            if each.command in taken:
                found.append(((kind, index), f"{each.command} stands elsewhere as well; expected once"))
            taken.add(each.command)
    return found


def _transitions(workflow: Workflow) -> Found:
    found: Found = []
    seen: dict[tuple[str, str], int] = {}
    for index, transition in enumerate(workflow.transitions):
        at = ("transitions", index)
        found += _unknown_statuses(workflow, at, {"from": transition.from_, "to": (transition.to,)})
        found += _unknown_roles(workflow, at, transition.roles)
        found += _lists(at, transition.command, transition)
        for status in transition.from_:
            if (transition.command, status) in seen:
                found.append((at, f"{transition.command} from {status} stands twice; expected once"))
            seen[(transition.command, status)] = index
    return found


def _proposals(workflow: Workflow) -> Found:
    found: Found = []
    for index, proposal in enumerate(workflow.proposals):
        at = ("proposals", index)
        places = {"from": proposal.from_, "pending": (proposal.pending,), "to": (proposal.to,)}
        found += _unknown_statuses(workflow, at, places)
        found += _unknown_roles(workflow, at, (*proposal.roles, *proposal.approvers))
        found += _lists(at, proposal.kind, proposal)
        if sum(other.kind == proposal.kind for other in workflow.proposals) > 1:
            found.append((at, f"{proposal.kind} stands twice; expected once"))
        for status in proposal.from_:
            if proposal.pending in workflow.statuses and status in workflow.statuses:
                before, waiting = (workflow.has(name, "open") for name in (status, str(proposal.pending)))
                if before != waiting:
                    message = f"{proposal.kind} waits in {proposal.pending}: expected it to be open as {status} is"
                    found.append(((*at, "pending"), message))
    verdicts = Counter(each.verdict for each in workflow.verdicts)
    wrong = [name for name in ("approved", "returned", "rejected", "withdrawn") if verdicts[name] != 1]
    if wrong and workflow.proposals:
        found.append((("verdicts",), f"expected exactly one command each for: {', '.join(wrong)}"))
    return found


def _penalties(workflow: Workflow) -> Found:
    """Statuses of penalties that are named are there; an end that nothing leads to is none."""
    found: Found = []
    known = ", ".join(workflow.penalty_statuses)
    named: list[tuple[tuple[Any, ...], tuple[str | None, ...]]] = []
    for index, sanction in enumerate(workflow.sanctions):
        at: tuple[Any, ...] = ("sanctions", index)
        found += _unknown_roles(workflow, at, sanction.roles)
        found += _lists(at, sanction.command, sanction)
        named.append((at, (*sanction.from_, sanction.to)))
        if sanction.does == "issue" and not sanction.days:
            found.append((at, f"{sanction.command}: expected days, for which it can be appealed against"))
        if (sanction.to is None) != (sanction.does == "tell"):
            found.append((at, f"{sanction.command}: expected to, unless it only tells"))
    for index, proposal in enumerate(workflow.proposals):
        if proposal.penalty is not None:
            at = ("proposals", index, "penalty")
            named.append((at, (*proposal.penalty.from_, proposal.penalty.to)))
            if proposal.pending is not None or proposal.to is not None:
                found.append(
                    (at, f"{proposal.kind}: a penalty leaves its case where it is; expected no pending and no to")
                )
    for at, names in named:
        found += [
            (at, f"unknown penalty status {name!r}; known: {known or 'none'}")
            for name in names
            if name is not None and name not in workflow.penalty_statuses
        ]
    for name, status in workflow.penalty_statuses.items():
        if not any(name in names for _, names in named):
            found.append((("penalty_statuses", name), f"{name}: nothing leads to it; expected a proposal or sanction"))
        if not status.flags and workflow.in_course(name):
            found.append(
                (("penalty_statuses", name), f"{name} is in course and does not stand; expected stands or final")
            )
    return found


def _families(workflow: Workflow) -> Found:
    found: Found = []
    for section in ("checklists", "corroborated"):
        for family in getattr(workflow, section):
            if family not in FAMILIES:
                message = f"unknown family {family!r}; known: {', '.join(FAMILIES)}"
                found.append(((section, family), message))
    return found


def _labels(workflow: Workflow) -> Found:
    """Every outcome that is labelled can be stated, and says one thing."""
    steps: tuple[Guarded, ...] = (*workflow.transitions, *workflow.proposals)
    stated = {word for step in steps for word in (*step.outcomes, *step.reasons)}
    found: Found = []
    counted = Counter(outcome for outcomes in workflow.labels.values() for outcome in outcomes)
    for name, outcomes in (*workflow.labels.items(), ("routes", tuple(workflow.routes))):
        at = ("routes",) if name == "routes" else ("labels", name)
        unknown = sorted(set(outcomes) - stated)
        if unknown:
            found.append((at, f"{', '.join(unknown)}: no step has this outcome or reason"))
    if twice := sorted(outcome for outcome, count in counted.items() if count > 1):
        found.append((("labels",), f"{', '.join(twice)}: labelled twice; expected once"))
    return found


def _lists(at: tuple[Any, ...], name: str, step: Guarded) -> Found:
    """Guards and what belongs to them go together."""
    found: Found = []
    for guard, listed in (("reason", "reasons"), ("outcome", "outcomes"), ("class", "classes")):
        if (guard in step.guards) != bool(getattr(step, listed)):
            found.append((at, f"{name}: guard {guard!r} and its list {listed} go together"))
    for guard, setting in (("low_impact", "severities"), ("review", "review_share"), ("appeal_window", "days")):
        if guard in step.guards and not getattr(step, setting):
            found.append((at, f"{name}: guard {guard!r} needs {setting}"))
    return found


def _unknown_statuses(workflow: Workflow, at: tuple[Any, ...], places: dict[str, tuple[str | None, ...]]) -> Found:
    known = ", ".join(workflow.statuses)
    return [
        ((*at, key), f"unknown status {name!r}; known: {known}")
        for key, names in places.items()
        for name in names
        if name is not None and name not in workflow.statuses
    ]


def _unknown_roles(workflow: Workflow, at: tuple[Any, ...], roles: tuple[str, ...]) -> Found:
    known = ", ".join(workflow.roles)
    return [((*at, "roles"), f"unknown role {role!r}; known: {known}") for role in roles if role not in workflow.roles]


def _wake_problems(workflow: Workflow) -> Found:
    wakes = [(index, t) for index, t in enumerate(workflow.transitions) if t.wake]
    if len(wakes) != 1:
        return [(("transitions",), f"{len(wakes)} transitions are marked wake; expected exactly one")]
    index, wake = wakes[0]
    found: Found = []
    waking = {name for name, status in workflow.statuses.items() if "wakes" in status.flags}
    if waking != set(wake.from_):
        message = f"wake starts in {sorted(wake.from_)}; expected {sorted(waking)}, the statuses flagged wakes"
        found.append((("transitions", index, "from"), message))
    if wake.to in workflow.statuses and not workflow.has(wake.to, "open"):
        found.append((("transitions", index, "to"), f"wake leads to {wake.to}, which is not open"))
    return found
