"""replay: judge cases again from what is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fangcuan.cli.shared import AsJson, Home, err, installation, out, print_json, told

#: Exit codes beside 0, every case reproduced.
DRIFTED, NOT_REPRODUCIBLE = 10, 20
#: Differences shown per case; all of them are in --json.
SHOWN = 20


def add(app: typer.Typer) -> None:
    app.command()(replay)


@told
def replay(
    cases: Annotated[list[str] | None, typer.Argument(metavar="CASE...", help="Numbers of cases.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every case there is.")] = False,
    at: Annotated[
        Literal["run", "now"],
        typer.Option(help="run: with what was known that night; now: late and corrected data included."),
    ] = "run",
    with_rules: Annotated[
        Path | None,
        typer.Option(help="A content folder or a rule file that takes the place of what judged then."),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Judge the findings of cases again and compare every byte with what was filed: reproduced, drifted or not reproducible."""
    from fangcuan.cases.views import list_cases
    from fangcuan.flow.replay import Replay

    place = installation(home)
    numbers = sorted(case["number"] for case in list_cases(place.engine)) if everything else list(cases or ())
    if not numbers and not everything:
        err.print("name a case, or use --all")
        raise typer.Exit(2)
    items = list(Replay(place, at=at, with_rules=with_rules).cases(numbers))
    if as_json:
        print_json({"items": items})
    else:
        for item in items:
            _show(item)
        _show_engine(items)
    states = {item["state"] for item in items}
    if "not reproducible" in states:
        raise typer.Exit(NOT_REPRODUCIBLE)
    if "drifted" in states:
        raise typer.Exit(DRIFTED)


def _show(item: dict[str, Any]) -> None:
    told = item["occurrences"]
    nights = len({one["night"] for one in told})
    same = sum(one["state"] == "reproduced" for one in told)
    out.print(f"{item['number']}  {item['state']}: {same} of {len(told)} findings over {nights} nights, byte for byte")
    missing = {
        (one["missing"]["what"], one["missing"]["digest"], one["missing"]["message"]) for one in told if one["missing"]
    }
    for what, digest, message in sorted(missing):
        out.print(f"  {what} {digest}: {message}", markup=False)
    lines = [(one, each) for one in told for each in one["differences"]]
    for one, each in lines[:SHOWN]:
        values = f"{_short(each['filed'])} → {_short(each['replayed'])}"
        out.print(f"  {one['night']} {one['reported_id'][:12]} {each['field']}: {values}", markup=False)
    if len(lines) > SHOWN:
        out.print(f"  … {len(lines) - SHOWN} more; --json shows them")


def _show_engine(items: list[dict[str, Any]]) -> None:
    if not items:
        out.print("no cases; `fangcuan nightly` files them")
        return
    here = items[0]["engine"]["here"]
    libraries = ", ".join(f"{name} {one['version']}" for name, one in here["libraries"].items())
    out.print(
        f"engine {here['digest'][:16]}: fangcuan {here['fangcuan']['version']}, python {here['python']}, {libraries}"
    )
    differs = {json.dumps(one, sort_keys=True): one for item in items for one in item["engine"]["differs"]}
    unknown = any(digest is None for item in items for digest in item["engine"]["runs"].values())
    for one in differs.values():
        out.print(
            f"  differs from the run: {one['name']} was {_version(one['run'])}, is {_version(one['here'])}",
            markup=False,
        )
    if unknown:
        out.print(
            "  some runs are older than the record of engines: what judged then is known by the program's version only"
        )
    elif not differs:
        out.print("  the same as in the runs, every library by its digest")


def _version(told: Any) -> str:
    if isinstance(told, dict):
        return f"{told['version']} ({str(told['sha256'])[:12]})"
    return str(told)


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}…"
