"""cases …: what people do with a case, one command each; `cases act` gives every command of the workflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from fangcuan.cli.shared import Acting, AsJson, Home, installation, out, print_json, told

#: Stands where a command's help lists what workflow.yml lets it state.
_ANSWERS = "(workflow.yml)"
Role = Annotated[str | None, typer.Option(help="Act in this role only, of those one holds.")]
Note = Annotated[str | None, typer.Option(help="Free text for the record.")]
Why = Annotated[str, typer.Option("--note", help="Why; for the record.")]


class _Answering(TyperCommand):
    """A command whose help says which reasons or outcomes the workflow has, read when it is asked for: no other command pays."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "help", None) == _ANSWERS:
                from fangcuan.cases import workflow

                param.help = ", ".join(workflow.default().answers(str(self.name))) + "."  # type: ignore[attr-defined]
        return params


def add(app: typer.Typer) -> None:
    """The commands of this module, as part of `fangcuan cases`."""
    for name, command in _COMMANDS.items():
        # `dismiss` and `close` list what the workflow lets them state.
        app.command(name, cls=_Answering)(told(command))


def act(
    home: Path | None, command: str, number: str, actor: str | None, role: str | None, as_json: bool, **params: Any
) -> None:
    """Carry a command out and say what the case is now."""
    from fangcuan.flow.casework import act as carry_out

    result = carry_out(installation(home), command, number, actor=actor, role=role, params=dict(params))
    if as_json:
        print_json(result)
    else:
        out.print(f"{number}: {result['status']}")


def named(user: str) -> str:
    """`ling` → `user:ling`, as cases and events have it."""
    return user if ":" in user else f"user:{user}"


def next_(actor: Acting = None, role: Role = None, home: Home = None, as_json: AsJson = False) -> None:
    """Claim the most urgent case that nobody holds, within one's region and brand."""
    from fangcuan.flow.casework import next_case

    result = next_case(installation(home), actor=actor, role=role)
    if as_json:
        print_json(result or {"number": None})
    else:
        out.print(f"{result['number']}: yours" if result else "no case is waiting")


def assign(
    number: str,
    user: Annotated[str, typer.Argument(help="Who gets it; his role has to reach the case.")],
    note: Note = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Give a case to somebody, whoever held it."""
    act(home, "assign", number, actor, role, as_json, to=named(user), note=note)


def snooze(
    number: str,
    until: Annotated[str, typer.Option(help="Day (in the brand's time zone) or time at which it comes back.")],
    note: Why,
    condition: Annotated[
        str | None, typer.Option(help="Comes back earlier on new_evidence or on the partner's answer.")
    ] = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Lay a case aside for a while: `cases next` passes over it, its status stays."""
    act(home, "snooze", number, actor, role, as_json, until=until, condition=condition, note=note)


def lift_hold(
    number: str,
    note: Why,
    which: Annotated[int | None, typer.Option("--hold", help="Its number, where there are several.")] = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Lift a legal hold."""
    act(home, "lift_hold", number, actor, role, as_json, note=note, hold=which)


def comment(
    number: str,
    text: Annotated[str, typer.Argument(help="What is to be kept with the case.")],
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write a comment beside a case, in whatever status it is."""
    act(home, "comment", number, actor, role, as_json, text=text)


def amend(
    number: str,
    comment_number: Annotated[int, typer.Argument(metavar="COMMENT", help="Its number, as `cases show` has it.")],
    text: Annotated[str, typer.Argument(help="What it should have said; what it said stays in the history.")],
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Amend one of one's own comments; the old text stays, and is shown in --json."""
    act(home, "amend", number, actor, role, as_json, comment=comment_number, text=text)


def attach(
    number: str,
    file: Annotated[Path, typer.Argument(help="Goes into the evidence store; its digest goes into the case.")],
    kind: Annotated[str, typer.Option(help="purchase_receipt, delivery_note, site_photo, returned_goods, …")],
    name: Annotated[str | None, typer.Option(help="What it is called in the case (default: the file's name).")] = None,
    document: Annotated[str | None, typer.Option(help="document_id, where it came through the documents feed.")] = None,
    note: Note = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Put a file beside a case: a receipt, a photo, a page, whatever bears it out or speaks against it."""
    from fangcuan.flow.casework import attach_file

    given = {"kind": kind, "name": name, "document": document, "note": note}
    result = attach_file(installation(home), number, file, actor=actor, role=role, params=given)
    if as_json:
        print_json(result)
    else:
        out.print(f"{number}: {kind} {result['sha256']}")


def link(
    number: str,
    other: Annotated[str, typer.Argument(help="The other case.")],
    kind: Annotated[str, typer.Option(help="same_goods, same_source, same_seller, related.")] = "related",
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say that two cases have to do with each other; they stay two."""
    act(home, "link", number, actor, role, as_json, other=other, kind=kind)


def do(
    number: str,
    command: Annotated[
        str, typer.Argument(help="A command of workflow.yml; a wrong one is answered with the possible ones.")
    ],
    actor: Acting = None,
    role: Role = None,
    reason: Annotated[str | None, typer.Option(help="Where the command asks for a reason.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Where the command asks for an outcome.")] = None,
    note: Note = None,
    given: Annotated[
        list[str] | None, typer.Option("--param", help="NAME=VALUE for anything else a command asks for.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Any command of the workflow, also one that only your workflow.yml has."""
    more = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"{pair!r}: expected NAME=VALUE", param_hint="--param")
        more[name] = value
    act(home, command, number, actor, role, as_json, **{"reason": reason, "outcome": outcome, "note": note, **more})


def dismiss(
    number: str,
    reason: Annotated[str, typer.Option(help=_ANSWERS)],
    note: Note = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Dismiss a case of low impact directly; others, and every tenth, are proposed."""
    act(home, "dismiss", number, actor, role, as_json, reason=reason, note=note)


def propose(
    number: str,
    kind: Annotated[
        str,
        typer.Argument(help="confirm, dismiss, merge, split, reopen, uphold, reduce, waive, reverse."),
    ],
    note: Why,
    outcome: Annotated[str | None, typer.Option(help="confirm: which offence.")] = None,
    class_: Annotated[str | None, typer.Option("--class", help="confirm: malicious, natural or benign.")] = None,
    reason: Annotated[str | None, typer.Option(help="dismiss, reduce, waive, reverse: why.")] = None,
    checked: Annotated[
        list[str] | None, typer.Option(help="confirm: an item of the family's checklist; once for each.")
    ] = None,
    into: Annotated[str | None, typer.Option(help="merge: the case it becomes part of.")] = None,
    amount: Annotated[str | None, typer.Option(help="reduce: what is due from then on.")] = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Propose what should become of a case; somebody else approves, returns or rejects it."""
    given = {"outcome": outcome, "class": class_, "reason": reason, "checklist": checked or None, "into": into}
    given["amount"] = amount
    act(home, "propose", number, actor, role, as_json, kind=kind, note=note, **given)


def split(
    number: str,
    finding: Annotated[
        list[str],
        typer.Option(help="A finding that is about something else, its id as `cases show` has it; once for each."),
    ],
    note: Why,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Propose to give findings a case of their own; somebody else approves it, and they are filed there from then on."""
    act(home, "propose", number, actor, role, as_json, kind="split", note=note, finding_id=finding)


def close(
    number: str,
    outcome: Annotated[str, typer.Option(help=_ANSWERS)],
    note: Note = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Close a confirmed case with what came of it."""
    act(home, "close", number, actor, role, as_json, outcome=outcome, note=note)


def _plain(command: str, about: str) -> Callable[..., None]:
    """A command that asks for nothing but the case."""

    def run(number: str, actor: Acting = None, role: Role = None, home: Home = None, as_json: AsJson = False) -> None:
        act(home, command, number, actor, role, as_json)

    run.__doc__ = about
    return run


def _noted(command: str, about: str) -> Callable[..., None]:
    """A command that takes a note."""

    def run(
        number: str,
        note: Note = None,
        actor: Acting = None,
        role: Role = None,
        home: Home = None,
        as_json: AsJson = False,
    ) -> None:
        act(home, command, number, actor, role, as_json, note=note)

    run.__doc__ = about
    return run


def _explained(command: str, about: str) -> Callable[..., None]:
    """A command that asks why."""

    def run(
        number: str, note: Why, actor: Acting = None, role: Role = None, home: Home = None, as_json: AsJson = False
    ) -> None:
        act(home, command, number, actor, role, as_json, note=note)

    run.__doc__ = about
    return run


_COMMANDS: dict[str, Callable[..., None]] = {
    "claim": _plain("claim", "Take a case that nobody holds."),
    "next": next_,
    "assign": assign,
    "release": _noted("release", "Let go of a case one holds; a supervisor, of anybody's."),
    "escalate": _explained(
        "escalate",
        "Ask for a supervisor's attention: the case stands first in the list until one assigns or settles it.",
    ),
    "settle": _explained("settle", "End the attention that was asked for."),
    "snooze": snooze,
    "wake-up": _noted("wake_up", "End a snooze."),
    "hold": _explained("hold", "Place a legal hold: the case is neither closed nor sealed until it is lifted."),
    "lift-hold": lift_hold,
    "comment": comment,
    "amend": amend,
    "attach": attach,
    "link": link,
    "act": do,
    "triage": _plain("triage", "Take a new case into triage."),
    "request-information": _explained("request_information", "Ask somebody for information; the case waits for it."),
    "receive-information": _explained("receive_information", "Note what came back; the case is in triage again."),
    "dismiss": dismiss,
    "propose": propose,
    "split": split,
    "approve": _noted(
        "approve",
        "Approve the open proposal about a case; never one's own, and never one that new evidence made stale.",
    ),
    "return": _explained("return", "Return the open proposal: something is still to be done."),
    "reject": _explained("reject", "Reject the open proposal."),
    "withdraw": _noted("withdraw", "Withdraw one's own proposal."),
    "close": close,
    "seal": _noted(
        "seal", "Seal a decided case once nobody can appeal against it any more; later findings open a new one."
    ),
}
