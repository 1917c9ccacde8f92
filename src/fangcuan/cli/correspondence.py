"""cases ask|extend|letter and answers give|show: letters to a partner, and what he says."""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fangcuan.cli.case_work import Role, Why, act
from fangcuan.cli.shared import Acting, AsJson, Home, installation, out, print_json, told

answers = typer.Typer(help="What a partner can do with the link he was sent.", no_args_is_help=True)
Language = Annotated[str, typer.Option(help="zh or en.")]
Link = Annotated[str, typer.Argument(help="The link that came with the letter.")]


def add(parent: typer.Typer, cases: typer.Typer) -> None:
    cases.command("ask")(told(ask))
    cases.command("extend")(told(extend))
    about = "Write the letter that tells the partner what was decided; its text stays with the case."
    cases.command("letter")(told(lettered("corresponding.send_letter", about)))
    parent.add_typer(answers, name="answers")


def ask(
    number: str,
    due: Annotated[str, typer.Option(help="Last day on which he should answer.")],
    language: Language = "zh",
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Ask the partner a case is about to explain it: the letter, and a link for his answer that is shown this once."""
    from fangcuan.flow.corresponding import request_answer

    result = request_answer(installation(home), number, due=_day(due), language=language, actor=actor, role=role)
    if as_json:
        print_json(result)
        return
    out.print(result["text"], markup=False)
    out.print(f"link for the answer, shown this once: {result['link']}", markup=False)


def extend(
    number: str,
    due: Annotated[str, typer.Option(help="New last day.")],
    note: Why,
    notice: Annotated[
        int | None, typer.Option(help="Which request, where there are several (default: the latest).")
    ] = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Give the partner more time to answer."""
    zone = installation(home).settings.zone
    due_at = dt.datetime.combine(_day(due), dt.time(), zone) + dt.timedelta(days=1)
    act(home, "extend", number, actor, role, as_json, due_at=due_at.isoformat(), note=note, notice=notice)


def lettered(send: str, about: str) -> Callable[..., None]:
    """A command that writes a letter about a case; `send` is the function of `fangcuan.flow` that does, as module.function."""

    def run(
        number: str,
        language: Language = "zh",
        actor: Acting = None,
        role: Role = None,
        home: Home = None,
        as_json: AsJson = False,
    ) -> None:
        module, _, function = send.rpartition(".")
        write = getattr(importlib.import_module(f"fangcuan.flow.{module}"), function)
        result = write(installation(home), number, language=language, actor=actor, role=role)
        if as_json:
            print_json(result)
            return
        out.print(result["text"], markup=False)
        if "link" in result:
            out.print(f"link for an answer, shown this once: {result['link']}", markup=False)

    run.__doc__ = about
    return run


@answers.command("show")
@told
def show(link: Link, home: Home = None, as_json: AsJson = False) -> None:
    """What the partner sees: the letter, until when he can answer, and what he said."""
    from fangcuan.flow.corresponding import partner_view

    seen = partner_view(installation(home), link)
    if as_json:
        print_json(seen)
        return
    out.print(seen["text"], markup=False)
    for one in seen["answers"]:
        out.print(f"answer {one['answer']}, {one['reason']}: {one['text']}", markup=False)


@answers.command("give")
@told
def give(
    link: Link,
    reason: Annotated[str, typer.Option(help="approved_transfer, customer_travel, e_commerce_order, …")],
    text: Annotated[str, typer.Option(help="What happened.")],
    file: Annotated[list[Path] | None, typer.Option(help="A paper or photo; once for each.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Answer through a link; it can be done again, and decides nothing."""
    from fangcuan.flow.corresponding import answer

    result = answer(installation(home), link, reason=reason, text=text, files=file or ())
    if as_json:
        print_json(result)
    else:
        out.print(f"{result['number']}: received")


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: expected a day such as 2026-12-31", param_hint="--due") from error
