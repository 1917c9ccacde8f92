"""init, simulate, ingest, nightly, db."""

from __future__ import annotations

import datetime as dt
import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fangcuan.cli.shared import CASES_FILED, FAILED, NOT_LOOKED, AsJson, Home, err, installation, out, print_json, told

database = typer.Typer(help="The casebook database.", no_args_is_help=True)

World = Annotated[
    Path | None, typer.Option("--world", help="Read this world folder instead of the sources in the settings.")
]


def add(app: typer.Typer) -> None:
    app.command()(init)
    app.command()(simulate)
    app.command()(ingest)
    app.command()(nightly)
    app.add_typer(database, name="db")


@told
def init(
    home: Annotated[Path, typer.Option("--home", help="Folder to make the installation in.")] = Path(),
    database_url: Annotated[
        str | None, typer.Option(help="postgresql://… for a team; SQLite in the home by default.")
    ] = None,
    timezone: Annotated[str, typer.Option(help="The brand's time zone.")] = "Asia/Shanghai",
    source: Annotated[list[str] | None, typer.Option(help="Source to pull each night; repeat for several.")] = None,
    admin: Annotated[
        str | None, typer.Option(help="The first administrator (default: the operating system's user).")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="For a sample world: an account for each role.")] = False,
) -> None:
    """Make an installation: settings, folders, casebook, first administrator; approve the shipped units and legal gate.

    Doing it again is safe.
    """
    from fangcuan.flow.accounts import demo_accounts, first_admin
    from fangcuan.flow.approve import approve_shipped
    from fangcuan.flow.installation import initialise
    from fangcuan.flow.policies import approve_shipped_policies

    made = initialise(home, database_url=database_url, timezone=timezone, sources=source or None)
    fresh = approve_shipped(made)
    gate = approve_shipped_policies(made)
    first = first_admin(made, admin) if not demo else None
    users = demo_accounts(made) if demo else [first] if first else []
    out.print(f"installation {made.settings.home}")
    out.print(f"casebook     {made.engine.url.render_as_string(hide_password=True)}")
    out.print(f"units        {len(fresh)} newly approved (package default)")
    out.print(f"legal gate   {gate['legal_gate']} rows newly approved (package default); see docs/legal-gate.md")
    out.print(f"users        {', '.join(users) if users else 'as they were'}; see `fangcuan users list`")
    out.print(
        "next         fangcuan ingest --world DIR, or name sources in fangcuan.toml; then fangcuan nightly --date DAY"
    )


@told
def simulate(
    folder: Annotated[Path | None, typer.Argument(help="Folder to write the world to.")] = None,
    preset: Annotated[str, typer.Option(help="sample, sample-clean, tiny or tiny-clean.")] = "sample",
    family: Annotated[
        str | None, typer.Option(help="Ordinary travel and this family alone, in the sizes of sample or tiny.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Name the families, a sentence each, and stop.")] = False,
    seed: Annotated[int | None, typer.Option(help="Another seed gives another world of the same kind.")] = None,
    nights: Annotated[int | None, typer.Option(help="Number of nights.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a synthetic world (a folder along the contract, truth kept apart). The same seed gives the same bytes."""
    from fangcuan.simulate.spec import family_preset
    from fangcuan.simulate.spec import preset as named
    from fangcuan.simulate.worlds import simulate as make

    if listed:
        _list_families(as_json)
        return
    if folder is None:
        raise typer.BadParameter("name the folder to write the world to")
    changes = {name: value for name, value in {"seed": seed, "nights": nights}.items() if value is not None}
    try:
        spec = named(preset, **changes) if family is None else family_preset(family, preset, **changes)
    except ValueError as error:
        err.print(f"[red]error[/red] {error}")
        raise typer.Exit(FAILED) from error
    summary = make(spec, folder, progress=lambda message: err.print(f"[dim]{message}[/dim]"))
    if as_json:
        print_json({**vars(summary), "folder": str(summary.folder)})
        return
    out.print(f"world   {summary.folder}, nights {summary.first_night} … {summary.last_night}")
    out.print("rows    " + ", ".join(f"{name} {rows:,}" for name, rows in summary.feeds.items()))
    planted = ", ".join(f"{kind} {count}" for kind, count in summary.schemes.items()) or "none"
    out.print(f"planted {planted} (in {summary.folder}/truth, which nothing reads but the scorer)")


def _list_families(as_json: bool) -> None:
    from fangcuan.simulate.spec import describe_families

    rows = describe_families()
    if as_json:
        print_json({"items": rows})
        return
    for row in rows:
        out.print(f"{row['family']:<30} {row['kind']:<8} {row['zh']}", markup=False)
        out.print(f"{'':<40}{row['en']}", markup=False)
        if row["size"]:
            out.print(f"{'':<40}size: {row['size']}; strength: {row['strength']}", markup=False)


@told
def ingest(
    home: Home = None,
    world: World = None,
    date: Annotated[str | None, typer.Option("--date", help="Load what arrived by this night (default: all).")] = None,
    as_json: AsJson = False,
) -> None:
    """Pull sources, or load a world folder, without judging a night."""
    from fangcuan.flow.pulling import pull_all

    place = installation(home)
    night = _day(date) if date else dt.datetime.now(place.settings.zone).date()
    results = list(pull_all(place, night, world=world, progress=_note))
    if as_json:
        print_json({"items": results})
    else:
        for result in results:
            colour = {"landed": "green", "held": "yellow"}.get(result["state"], "red")
            kinds = ("loaded", "duplicate", "quarantined")
            counts = ", ".join(f"{result[f'rows_{kind}']:,} {kind}" for kind in kinds)
            out.print(f"[{colour}]{result['state']:<12}[/] {result['source_id']}: {counts}")
            if result["message"]:
                out.print(f"             {result['message']}", markup=False)
    if any(result["state"] != "landed" for result in results):
        raise typer.Exit(NOT_LOOKED)


@told
def nightly(
    home: Home = None,
    world: World = None,
    date: Annotated[str | None, typer.Option("--date", help="The night to judge, a local date of the brand.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="First of several nights.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last of several nights.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge one night or several: pull, detect, decide, file.

    Ends with 0 when nothing was found, 10 when cases were filed, 20 when something could not be looked at, 1 when it failed.
    """
    from fangcuan.flow.night import lake_engine
    from fangcuan.flow.nightly import judge_night, nights_between

    place = installation(home)
    if date is None and (first is None or last is None):
        raise typer.BadParameter("give --date, or --from and --to")
    nights = [_day(date)] if date else nights_between(_day(str(first)), _day(str(last)))
    results: list[dict[str, Any]] = []
    with lake_engine(place) as engine, _bar(len(nights)) as step:
        for night in nights:
            said = partial(step, 0)
            results.append(judge_night(place, night, world=world, progress=said, engine=engine))
            step(1, _night_line(results[-1]))
    if as_json:
        print_json({"items": results})
    elif len(results) == 1:
        out.print(_night_line(results[0]))
    else:
        out.print(_total_line(results))
    raise typer.Exit(_exit_code(results))


def _exit_code(results: list[dict[str, Any]]) -> int:
    if any(result.get("failed_units") for result in results):
        return FAILED
    if any(result.get("not_looked") for result in results):
        return NOT_LOOKED
    return CASES_FILED if any(result.get("cases_opened") for result in results) else 0


def _night_line(result: dict[str, Any]) -> str:
    if result.get("again"):
        return f"{result['night']}  judged before, nothing to do"
    line = (
        f"{result['night']}  {result['findings']} findings, {result['cases_opened']} cases opened, "
        f"{result['cases_attached']} updated"
    )
    for key, words in (("not_looked", "not looked at"), ("failed_units", "failed")):
        if result.get(key):
            line += f"; {words}: {', '.join(result[key])}"
    return line + _shadow([result])


def _total_line(results: list[dict[str, Any]]) -> str:
    judged = [result for result in results if not result.get("again")]
    opened = sum(result["cases_opened"] for result in judged)
    before = len(results) - len(judged)
    line = f"{len(judged)} nights judged, {before} judged before, {opened} cases opened"
    return f"{line}{_shadow(judged)}; see `fangcuan cases list`"


def _shadow(results: list[dict[str, Any]]) -> str:
    from fangcuan.flow.filing import shadow_words

    words = shadow_words(results)
    return f"; {words}" if words else ""


class _bar:
    """A progress bar in a terminal, plain lines in a log."""

    def __init__(self, total: int):
        self._total = total
        self._terminal = os.isatty(2)

    def __enter__(self) -> Any:
        if not self._terminal:
            return lambda advance, message: err.print(message, markup=False) if advance else None
        columns = (
            TextColumn("nights"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=err, transient=True)
        self._progress.start()
        task = self._progress.add_task("", total=self._total)
        return lambda advance, message: self._progress.update(task, advance=advance, description=message[:100])

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            self._progress.stop()


def _note(message: str) -> None:
    if os.isatty(2):
        err.print(f"[dim]{message}[/dim]")


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date; write it as 2026-03-14") from error


@database.command("upgrade")
@told
def upgrade(home: Home = None) -> None:
    """Bring the casebook to the newest version."""
    from fangcuan.store import migrations

    place = installation(home)
    migrations.upgrade(place.settings.casebook_url)
    out.print(f"casebook at version {migrations.current(place.settings.casebook_url)}")


@database.command("roles")
@told
def roles(
    role: Annotated[str, typer.Option(help="Name of the role that nights and people use.")] = "fangcuan_app",
) -> None:
    """Print the SQL by which the owner of a PostgreSQL casebook lets a role add to the history and never alter it."""
    from fangcuan.store.guards import grants

    try:
        print(grants(role), end="")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
