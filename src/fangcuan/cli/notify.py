"""notify send|list|channels|retry."""

from __future__ import annotations

from typing import Annotated

import typer

from fangcuan.cli.shared import FAILED, AsJson, Home, err, installation, out, print_items, print_json, told

app = typer.Typer(help="Notifications by mail, chat and webhook.", no_args_is_help=True)


def add(parent: typer.Typer) -> None:
    parent.add_typer(app, name="notify")


@app.command("send")
@told
def send(home: Home = None, as_json: AsJson = False) -> None:
    """Send the notifications that are due; ends with 1 where some could not be sent."""
    from fangcuan.flow.notifying import send_due

    done = send_due(installation(home))
    if as_json:
        print_json(done)
    else:
        words = {"sent": "sent", "failed": "failed", "given_up": "given up", "left": "left"}
        out.print(", ".join(f"{done[name]} {word}" for name, word in words.items()))
        for problem in done["problems"]:
            err.print(problem, markup=False)
    if done["failed"] or done["given_up"]:
        raise typer.Exit(FAILED)


@app.command("list")
@told
def list_(
    state: Annotated[str | None, typer.Option(help="queued, claimed, sent or given_up.")] = None,
    rows: Annotated[int, typer.Option(help="How many, the newest first.")] = 50,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """The outbox: what was written for whom, and what became of it."""
    from fangcuan.cases.notifying.outbox import list_messages

    items = list_messages(installation(home).engine, state=state, limit=rows)
    columns = (
        ("entry", "entry"),
        ("notice", "notice"),
        ("case", "number"),
        ("user", "user_id"),
        ("channel", "channel"),
        ("state", "state"),
        ("attempts", "attempts"),
        ("written", "written_at"),
        ("last", "message"),
    )
    print_items(items, as_json, columns, "nothing was written")


@app.command("channels")
@told
def channels_(home: Home = None, as_json: AsJson = False) -> None:
    """Channels that somebody chose, and whether each has an address here."""
    from fangcuan.flow.notifying import channels

    items = channels(installation(home))
    if not as_json:
        for item in items:
            item["shown"] = ", ".join(item["users"])
    columns = (("channel", "channel"), ("users", "shown"), ("usable", "usable"), ("problem", "problem"))
    print_items(items, as_json, columns, "nobody chose a channel; see `fangcuan users notify --help`")


@app.command("retry")
@told
def retry(home: Home = None, as_json: AsJson = False) -> None:
    """Queue once more what was given up."""
    import datetime as dt

    from fangcuan.cases.notifying.outbox import try_again

    queued = try_again(installation(home).engine, dt.datetime.now(dt.UTC))
    if as_json:
        print_json({"queued": queued})
    else:
        out.print(f"{queued} queued again; `fangcuan notify send` sends them")
