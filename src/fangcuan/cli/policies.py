"""policies propose|list|show|approve|reject|withdraw|in-force."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer

from fangcuan.cli.shared import Acting, AsJson, Home, installation, out, print_items, print_json, told

app = typer.Typer(
    help="Policies: prices, promotions, territories, permits, rebates, evidence, penalties, the legal gate.",
    no_args_is_help=True,
)


#: Stands where a command's help lists the kinds of policy that workflow.yml has.
_KIND = "A kind of policy; a wrong one is answered with those there are."

Kind = Annotated[str, typer.Argument(help=_KIND)]
Proposal = Annotated[int, typer.Argument(help="Its number, as `policies list` has it.")]
Reason = Annotated[str | None, typer.Option(help="For the record.")]


def add(parent: typer.Typer) -> None:
    parent.add_typer(app, name="policies")


@app.command("propose")
@told
def propose(
    kind: Kind,
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or YAML in the contract's columns.")],
    note: Annotated[str | None, typer.Option(help="Why; whoever approves sees it.")] = None,
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Propose rows for somebody else to approve, and show how they differ from what is in force.

    Every problem is told at once with row and column, and then nothing is stored.
    """
    from fangcuan.cases.policies.versions import show_proposal
    from fangcuan.flow.policies import propose_file, today

    place = installation(home)
    number = propose_file(place, kind, file, actor=actor, note=note)
    proposal = show_proposal(place.engine, number, day=today(place))
    if as_json:
        print_json(proposal)
        return
    _print(proposal)
    out.print(f"proposal {number}: someone else approves it with `fangcuan policies approve {number}`")


@app.command("list")
@told
def list_(
    kind: Annotated[str | None, typer.Argument(help=_KIND)] = None,
    undecided: Annotated[bool, typer.Option("--undecided", help="Only what is not decided yet.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Proposals, the newest first."""
    from fangcuan.cases.policies.versions import check_kind, list_proposals

    if kind is not None:
        check_kind(kind)
    items = list_proposals(installation(home).engine, kind, undecided=undecided)
    columns = (
        ("proposal", "proposal"),
        ("kind", "kind"),
        ("rows", "rows"),
        ("proposed by", "proposed_by"),
        ("at", "proposed_at"),
        ("decision", "decision"),
        ("by", "decided_by"),
        ("reason", "reason"),
    )
    print_items(items, as_json, columns, "no proposals; `fangcuan policies propose KIND FILE` makes one")


@app.command("show")
@told
def show(proposal: Proposal, home: Home = None, as_json: AsJson = False) -> None:
    """One proposal, each row beside what it replaces."""
    from fangcuan.cases.policies.versions import show_proposal
    from fangcuan.flow.policies import today

    place = installation(home)
    found = show_proposal(place.engine, proposal, day=today(place))
    if as_json:
        print_json(found)
    else:
        _print(found)


@app.command("approve")
@told
def approve(
    proposal: Proposal, reason: Reason = None, actor: Acting = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Approve what somebody else proposed: known from this moment on, in force from its first day on."""
    from fangcuan.cases.policies.versions import approve as decide
    from fangcuan.flow.accounts import acting

    place = installation(home)
    keys = decide(place.engine, acting(place, actor), proposal, reason=reason)
    _decided(as_json, proposal, "approve", f"approved, {len(keys)} rows: {', '.join(keys)}", keys=keys)


@app.command("reject")
@told
def reject(
    proposal: Proposal,
    reason: Annotated[str, typer.Option(help="Why; for the record.")],
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Reject what somebody else proposed."""
    from fangcuan.cases.policies.versions import reject as decide
    from fangcuan.flow.accounts import acting

    place = installation(home)
    decide(place.engine, acting(place, actor), proposal, reason=reason)
    _decided(as_json, proposal, "reject", "rejected")


@app.command("withdraw")
@told
def withdraw(
    proposal: Proposal, reason: Reason = None, actor: Acting = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Take back a proposal of one's own."""
    from fangcuan.cases.policies.versions import withdraw as decide
    from fangcuan.flow.accounts import acting

    place = installation(home)
    decide(place.engine, acting(place, actor), proposal, reason=reason)
    _decided(as_json, proposal, "withdraw", "withdrawn")


@app.command("in-force")
@told
def in_force_(
    kind: Annotated[str, typer.Argument(help="Any table of master data.")],
    on: Annotated[str | None, typer.Option(help="Valid on this day (default: today).")] = None,
    known: Annotated[
        str | None, typer.Option(help="As known at the end of this day, or at this time with zone (default: now).")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """What was in force on a day, as known on that day or any other."""
    from fangcuan.cases.policies.versions import in_force
    from fangcuan.cases.refusals import GuardFailed
    from fangcuan.core.canonical import plain
    from fangcuan.core.masters import MASTERS
    from fangcuan.flow.policies import today
    from fangcuan.store.database import read

    if kind not in MASTERS:
        raise GuardFailed(f"{kind!r} is no master data; expected one of {', '.join(MASTERS)}")
    place = installation(home)
    day = _date(on) if on else today(place)
    with read(place.engine) as connection:
        rows = in_force(connection, kind, day, _moment(place, known))
    names = [*MASTERS[kind].column_names, "source_id"]
    items = [{name: plain(row[name]) for name in names} for row in rows]
    shown = [name for name in names if any(item[name] is not None for item in items)]
    print_items(items, as_json, [(name, name) for name in shown], f"nothing of {kind} was in force on {day}")


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date such as 2026-03-14") from error


def _moment(place: Any, text: str | None) -> dt.datetime | None:
    from fangcuan.detect.relations import night_end

    if text is None:
        return None
    if len(text) <= len("2026-03-14"):
        return night_end(_date(text), place.settings)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a time such as 2026-03-14T02:05:00+08:00") from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no zone; write 2026-03-14T02:05:00+08:00")
    return moment


def _decided(as_json: bool, proposal: int, decision: str, said: str, **facts: Any) -> None:
    if as_json:
        print_json({"proposal": proposal, "decision": decision, **facts})
    else:
        out.print(f"proposal {proposal}: {said}", markup=False)


def _print(proposal: dict[str, Any]) -> None:
    head = f"proposal {proposal['proposal']}  {proposal['kind']}, {proposal['rows']} rows, by {proposal['proposed_by']}"
    out.print(head, markup=False)
    if proposal["note"]:
        out.print(f"  {proposal['note']}", markup=False)
    if proposal["decision"]:
        why = f": {proposal['reason']}" if proposal["reason"] else ""
        out.print(f"  {proposal['decision']} by {proposal['decided_by']}{why}", markup=False)
    for one in proposal["changes"]:
        out.print(f"  {one['change']:8} {one['key']}", markup=False)
        values = one["changes"] or {name: (None, value) for name, value in one["row"].items() if value is not None}
        for name, (before, after) in values.items():
            was = f"{_value(before)} → " if one["change"] != "added" else ""
            out.print(f"           {name}: {was}{_value(after)}", markup=False)
        if one["loaded_by"]:
            said = "its next file that says something else goes before this; change it there as well"
            out.print(f"           loaded by {one['loaded_by']}: {said}", markup=False)


def _value(value: Any) -> str:
    return "–" if value is None else str(value)
