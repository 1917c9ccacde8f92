"""users add|list|link|disable|erase|password|grant|revoke|notify|token|tokens|revoke-token."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import typer

from fangcuan.cli.shared import Acting, AsJson, Home, err, installation, out, print_items, print_json, told

app = typer.Typer(help="Accounts: who may work here, in which roles and where.", no_args_is_help=True)

#: Where an account's tokens end when nothing else is said, in days.
DAYS = 90
#: What is left to do where the file of the database may still hold the destroyed key.
FREE = {
    "sqlite": "somebody is reading: the write-ahead log holds the key until they have, and somebody writes again",
    "postgresql": "the file of the table may hold the key: let its owner run `vacuum (full) person_key`",
}


def add(parent: typer.Typer) -> None:
    parent.add_typer(app, name="users")


def _done(as_json: bool, text: str, **facts: Any) -> None:
    if as_json:
        print_json(facts)
    else:
        out.print(text, markup=False)


@app.command("add")
@told
def add_(
    user: Annotated[
        str,
        typer.Argument(
            help="A short id, such as u017. It stays in the history for good: choose one that names nobody."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name that people know; kept so that it can be erased.")],
    service: Annotated[bool, typer.Option("--service", help="A program, not a person.")] = False,
    same_person_as: Annotated[
        str | None, typer.Option(help="Account of the same person; of a service: the user who answers for it.")
    ] = None,
    os_user: Annotated[
        str | None, typer.Option(help="User of the operating system who is this account without --as.")
    ] = None,
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Add an account; it may do nothing until a role is granted."""
    from fangcuan.cases.people.accounts import add_user
    from fangcuan.cases.people.personal import gives_away
    from fangcuan.flow.accounts import acting

    place = installation(home)
    kind = "service" if service else "person"
    who = acting(place, actor)
    add_user(place.engine, who, user, name=name, kind=kind, same_person_as=same_person_as, os_user=os_user)
    _done(as_json, f"{user}: added; grant a role next", user=user, kind=kind)
    if not service and gives_away(user, name):
        err.print(
            f"{user} holds a part of the name, and an id is never erased; better one that names nobody", markup=False
        )


@app.command("list")
@told
def list_(home: Home = None, as_json: AsJson = False) -> None:
    """All accounts with the roles in force."""
    from fangcuan.cases.people.accounts import list_users

    items = list_users(installation(home).engine)
    if not as_json:
        for item in items:
            item["shown"] = "; ".join(f"{one['role']} ({one['scope']})" for one in item["roles"]) or None
    columns = (
        ("user", "user"),
        ("name", "name"),
        ("kind", "kind"),
        ("person", "person"),
        ("active", "active"),
        ("tokens", "tokens"),
        ("roles", "shown"),
    )
    print_items(items, as_json, columns, "no accounts; `fangcuan init` makes the first")


@app.command("link")
@told
def link(
    user: str,
    same_person_as: Annotated[str, typer.Option(help="The other account of the same person.")],
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say that two accounts are one person's, who then approves nothing for himself; this is not undone."""
    from fangcuan.cases.people.accounts import link_users
    from fangcuan.flow.accounts import acting

    place = installation(home)
    link_users(place.engine, acting(place, actor), user, same_person_as=same_person_as)
    _done(as_json, f"{user} and {same_person_as}: one person", user=user, same_person_as=same_person_as)


@app.command("disable")
@told
def disable(user: str, actor: Acting = None, home: Home = None, as_json: AsJson = False) -> None:
    """Close an account; it stays in the history."""
    from fangcuan.cases.people.accounts import disable_user
    from fangcuan.flow.accounts import acting

    place = installation(home)
    disable_user(place.engine, acting(place, actor), user)
    _done(as_json, f"{user}: closed", user=user, active=False)


@app.command("erase")
@told
def erase(
    user: str,
    note: Annotated[str, typer.Option(help="Why, without a name: the number of the request. It stays in the history.")],
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person: destroy the key under which his names stand, for all his accounts; this is not undone."""
    from dataclasses import asdict

    from fangcuan.cases.people.erasure import erase_user
    from fangcuan.flow.accounts import acting

    place = installation(home)
    done = erase_user(place.engine, acting(place, actor), user, note=note)
    ids = ", ".join(done.user_ids)
    _done(
        as_json, f"{ids}: erased; {len(done.tokens)} tokens revoked, {done.messages} messages given up", **asdict(done)
    )
    if not done.freed:
        err.print(FREE[place.engine.dialect.name], markup=False)
    if done.clear_events:
        err.print(
            f"{len(done.clear_events)} events from before there were keys hold his name in clear, and always will: "
            f"{', '.join(map(str, done.clear_events[:10]))}",
            markup=False,
        )


@app.command("password")
@told
def password(
    user: str,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read it from standard input instead of asking.")] = False,
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Set a person's password, asked for twice."""
    import sys

    from fangcuan.cases.people.accounts import set_password
    from fangcuan.flow.accounts import acting

    place = installation(home)
    who = acting(place, actor)
    if stdin:
        text = sys.stdin.readline().rstrip("\n")
    else:
        text = typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    set_password(place.engine, who, user, text)
    _done(as_json, f"{user}: password set", user=user)


@app.command("grant")
@told
def grant(
    user: str,
    role: str,
    region: Annotated[str | None, typer.Option(help="Only this region and all below it.")] = None,
    brand: Annotated[str | None, typer.Option(help="Only this brand.")] = None,
    partner: Annotated[str | None, typer.Option(help="Which partner the account is of; role partner only.")] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="First day, a local date of the brand; now if none.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="First day on which it does not hold any more.")] = None,
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Grant a role to somebody else, everywhere or for a region or brand."""
    from fangcuan.cases.people.grants import grant_role
    from fangcuan.flow.accounts import acting

    place = installation(home)
    start, end = (_midnight(day, place.settings.zone) for day in (first, until))
    number = grant_role(
        place.engine,
        acting(place, actor),
        user,
        role,
        region=region,
        brand=brand,
        partner=partner,
        valid_from=start,
        valid_to=end,
    )
    _done(
        as_json,
        f"{user}: {role}, grant {number}",
        grant=number,
        user=user,
        role=role,
        region=region,
        brand=brand,
        partner=partner,
    )


@app.command("revoke")
@told
def revoke(
    user: str,
    role: Annotated[str | None, typer.Argument(help="Every grant of this role.")] = None,
    number: Annotated[int | None, typer.Option("--grant", help="Only the grant of this number.")] = None,
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a role, or one grant of it, from now on."""
    from fangcuan.cases.people.grants import revoke_role
    from fangcuan.flow.accounts import acting

    if role is None and number is None:
        raise typer.BadParameter("name a role, or --grant and a number of `fangcuan users list --json`")
    place = installation(home)
    numbers = revoke_role(place.engine, acting(place, actor), user, role=role, grant=number)
    _done(as_json, f"{user}: revoked grant {', '.join(map(str, numbers))}", user=user, grants=numbers)


@app.command("notify")
@told
def notify(
    user: str,
    channels: Annotated[
        list[str] | None, typer.Argument(metavar="CHANNEL", help="Names of channels; none: nothing is sent any more.")
    ] = None,
    language: Annotated[str, typer.Option(help="zh or en.")] = "zh",
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say which channels reach a person; the address of a channel is the secret notify_<name>."""
    from fangcuan.cases.people.channels import choose_channels
    from fangcuan.flow.accounts import acting

    place = installation(home)
    names = choose_channels(place.engine, acting(place, actor), user, channels or [], language=language)
    said = f"reached by {', '.join(names)}, in {language}" if names else "told of nothing"
    _done(as_json, f"{user}: {said}", user=user, channels=names, language=language)


@app.command("token")
@told
def token(
    user: str,
    label: Annotated[str, typer.Option(help="What it is for.")],
    days: Annotated[int, typer.Option(help="Days until it ends; at most 366.")] = DAYS,
    role: Annotated[list[str] | None, typer.Option(help="Only for this role of the account. Repeatable.")] = None,
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Issue a token for oneself or for a service, shown this once; FANGCUAN_TOKEN takes it."""
    from fangcuan.cases.people.tokens import issue_token
    from fangcuan.flow.accounts import acting

    place = installation(home)
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    text = issue_token(place.engine, acting(place, actor), user, label=label, expires_at=end, roles=role)
    _done(as_json, text, user=user, token=text, expires_at=end)


@app.command("tokens")
@told
def tokens(
    user: Annotated[str | None, typer.Argument(help="Only those of one account.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Tokens and what became of them; the secrets are kept nowhere."""
    from fangcuan.cases.people.tokens import list_tokens

    columns = (
        ("token", "token_id"),
        ("user", "user_id"),
        ("label", "label"),
        ("issued", "issued_at"),
        ("ends", "expires_at"),
        ("revoked", "revoked_at"),
    )
    print_items(list_tokens(installation(home).engine, user), as_json, columns, "no tokens")


@app.command("revoke-token")
@told
def revoke_token_(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id, as `users tokens` shows it.")],
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """End a token at once: one's own, or any by an administrator."""
    from fangcuan.cases.people.tokens import revoke_token
    from fangcuan.flow.accounts import acting

    place = installation(home)
    revoke_token(place.engine, acting(place, actor), token_id)
    _done(as_json, f"{token_id}: revoked", token=token_id)


@app.command("refusals")
@told
def refusals(
    home: Home = None,
    rows: Annotated[int, typer.Option(help="How many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The access log: who was refused what, and why."""
    from fangcuan.cases.refusals import list_refusals

    columns = (("at", "at"), ("actor", "actor"), ("command", "command"), ("target", "target"), ("why", "message"))
    print_items(list_refusals(installation(home).engine, rows), as_json, columns, "nobody was refused anything")


def _midnight(day: str | None, zone: dt.tzinfo) -> dt.datetime | None:
    if day is None:
        return None
    try:
        return dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), zone)
    except ValueError as error:
        raise typer.BadParameter(f"{day!r} is not a date; write it as 2026-03-14") from error
