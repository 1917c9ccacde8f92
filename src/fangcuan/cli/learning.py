"""labels export|show, suppressions propose|approve|end|list: what decisions teach, and what is known to be innocent."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from fangcuan.cli.shared import Acting, AsJson, Home, installation, out, print_items, print_json, told

labels = typer.Typer(help="What decisions said about findings.", no_args_is_help=True)
suppressions = typer.Typer(help="What is known to be innocent, for a time.", no_args_is_help=True)


def add(parent: typer.Typer) -> None:
    parent.add_typer(labels, name="labels")
    parent.add_typer(suppressions, name="suppressions")


@labels.command("show")
@told
def show(home: Home = None, as_json: AsJson = False) -> None:
    """How many findings of each unit were right, wrong or unclear, by the latest decision."""
    from fangcuan.cases.filing.labels import frozen_labels
    from fangcuan.flow.labels import counts

    rows, _ = frozen_labels(installation(home).engine, dt.datetime.now(dt.UTC))
    items = [{"unit_id": unit, **found} for unit, found in sorted(counts(rows).items())]
    columns = (("unit", "unit_id"), ("right", "right"), ("wrong", "wrong"), ("unclear", "unclear"))
    print_items(items, as_json, columns, "nothing was decided yet")


@labels.command("export")
@told
def export(
    file: Annotated[Path, typer.Option("--out", help="JSON lines, one label each.")],
    until: Annotated[str | None, typer.Option(help="As known at this time (default: now).")] = None,
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Freeze the labels into a file; the history records its digest, and the same time gives the same file again."""
    from fangcuan.flow.accounts import acting
    from fangcuan.flow.labels import export_labels

    place = installation(home)
    result = export_labels(place, acting(place, actor), file, until=_moment(until) if until else None)
    if as_json:
        print_json(result)
    else:
        out.print(f"{file}: {result['rows']} labels until {result['until']}, sha256 {result['digest']}")


@suppressions.command("propose")
@told
def propose(
    match: Annotated[list[str], typer.Option(help="NAME=VALUE, once for each: family and at least one thing more.")],
    reason: Annotated[str, typer.Option(help="In one word or two: authorised, natural_flow, …")],
    note: Annotated[str, typer.Option(help="Why; for the record.")],
    until: Annotated[str, typer.Option(help="First day on which it no longer holds; at most a year ahead.")],
    since: Annotated[str | None, typer.Option("--from", help="First day on which it holds (default: today).")] = None,
    sampled: Annotated[str, typer.Option(help="Share that comes into the queue all the same: 0.02 to 0.05.")] = "0.05",
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Propose that findings like these open no case until a day."""
    from fangcuan.cases.filing.suppressions import propose_suppression
    from fangcuan.flow.accounts import acting

    place = installation(home)
    matcher = {}
    for pair in match:
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r}: expected NAME=VALUE", param_hint="--match")
        matcher[name] = value
    try:
        share = Decimal(sampled)
    except InvalidOperation as error:
        raise typer.BadParameter(f"{sampled!r}: expected a share such as 0.05", param_hint="--sampled") from error
    number = propose_suppression(
        place.engine,
        acting(place, actor),
        matcher,
        reason=reason,
        note=note,
        starts_on=_day(since, "--from") if since else dt.datetime.now(place.settings.zone).date(),
        ends_on=_day(until, "--until"),
        sampled_share=share,
    )
    if as_json:
        print_json({"suppression_id": number})
    else:
        out.print(
            f"suppression {number}: proposed; somebody else approves it with `fangcuan suppressions approve {number}`"
        )


@suppressions.command("approve")
@told
def approve(number: int, actor: Acting = None, home: Home = None, as_json: AsJson = False) -> None:
    """Let a proposed suppression hold; never one's own."""
    from fangcuan.cases.filing.suppressions import approve_suppression
    from fangcuan.flow.accounts import acting

    place = installation(home)
    approve_suppression(place.engine, acting(place, actor), number)
    _said(number, "approved", as_json)


@suppressions.command("end")
@told
def end(number: int, actor: Acting = None, home: Home = None, as_json: AsJson = False) -> None:
    """End a suppression before its time."""
    from fangcuan.cases.filing.suppressions import end_suppression
    from fangcuan.flow.accounts import acting

    place = installation(home)
    end_suppression(place.engine, acting(place, actor), number)
    _said(number, "ended", as_json)


@suppressions.command("list")
@told
def list_(home: Home = None, as_json: AsJson = False) -> None:
    """All suppressions with what they hid, and how much of that came into the queue."""
    from fangcuan.cases.filing.suppressions import list_suppressions

    items = list_suppressions(installation(home).engine)
    for item in items:
        item["matches"] = ", ".join(f"{name}={value}" for name, value in sorted(item["matcher"].items()))
    columns = (
        ("number", "suppression_id"),
        ("matches", "matches"),
        ("reason", "reason"),
        ("from", "starts_on"),
        ("until", "ends_on"),
        ("proposed by", "proposed_by"),
        ("approved by", "approved_by"),
        ("ended by", "ended_by"),
        ("hidden", "hidden"),
        ("sampled", "sampled"),
    )
    print_items(items, as_json, columns, "nothing is suppressed")


def _said(number: int, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"suppression_id": number, "is": what})
    else:
        out.print(f"suppression {number}: {what}")


def _day(text: str, option: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: expected a day such as 2026-12-31", param_hint=option) from error


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r}: expected a time such as 2026-12-31T12:00Z", param_hint="--until"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
