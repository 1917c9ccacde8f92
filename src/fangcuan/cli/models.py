"""train, detectors list|test."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import typer

from fangcuan.cli.shared import FAILED, AsJson, Home, err, installation, out, print_items, print_json, told

detectors = typer.Typer(help="Detectors: what they look at, and which trained model judges.", no_args_is_help=True)


def add(app: typer.Typer) -> None:
    app.command()(train)
    app.add_typer(detectors, name="detectors")


@told
def train(
    detector: Annotated[str | None, typer.Argument(help="One detector; all by default.")] = None,
    home: Home = None,
    date: Annotated[
        str | None, typer.Option("--date", help="Learn from what this night knew (default: the last judged one).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit detectors on what the lake holds; the nights after it use the new model. Training twice changes nothing.

    Ends with 0, or with 1 when a detector could not be trained; the others are trained all the same.
    """
    from fangcuan.flow.training import detector_ids, train_detector

    place = installation(home)
    night = _day(date)
    chosen = [detector] if detector else detector_ids()
    try:
        results = [train_detector(place, detector_id, night) for detector_id in chosen]
    except LookupError as error:
        err.print(f"error {error.args[0]}", markup=False)
        raise typer.Exit(FAILED) from error
    if as_json:
        print_json({"items": results})
    else:
        for result in results:
            out.print(_line(result), markup=False)
    if any(result["state"] in {"refused", "kept"} for result in results):
        raise typer.Exit(FAILED)


def _line(result: dict[str, Any]) -> str:
    if result["state"] == "refused":
        return f"refused    {result['message']}"
    line = f"{result['state']:<10} {result['detector_id']}: model {result['model_id'][:12]} of {result['trained_for']}"
    line += f", {result['rows']} rows"
    if result["rows_left_out"]:
        line += f", {result['rows_left_out']} left out because a case speaks of them"
    return f"{line}; {result['message']}" if result["message"] else line


def _day(text: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date; write it as 2026-03-14") from error


@detectors.command("list")
@told
def list_(home: Home = None, as_json: AsJson = False) -> None:
    """All detectors, each with the model the next night uses."""
    from fangcuan.detect.detectors import load_detector_units
    from fangcuan.flow.training import models

    current = {row["detector_id"]: row for row in models(installation(home)) if row["current"]}
    items = [
        {
            "id": unit.id,
            "status": unit.rule.status,
            "title": unit.rule.title.model_dump(),
            "digest": unit.digest,
            "features": list(unit.rule.feature_names),
            "model_id": current[unit.id]["model_id"] if unit.id in current else None,
            "trained_for": current[unit.id]["trained_for"].isoformat() if unit.id in current else None,
        }
        for unit in load_detector_units().values()
    ]
    columns = (
        ("id", "id"),
        ("status", "status"),
        ("title", "title.en"),
        ("标题", "title.zh"),
        ("trained for", "trained_for"),
    )
    print_items(items, as_json, columns, "no detectors")


@detectors.command("test")
@told
def run_tests(
    detector: Annotated[str | None, typer.Argument(help="One detector; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the tests that stand in the detectors: rows given, feature rows expected."""
    from fangcuan.detect.detectors import all_units, load_detector_units
    from fangcuan.detect.given import run_rule_test
    from fangcuan.settings import load

    known = load_detector_units()
    chosen = [known[detector]] if detector in known else list(known.values()) if detector is None else []
    if not chosen:
        err.print(f"error no detector {detector!r}; `fangcuan detectors list` shows them", markup=False)
        raise typer.Exit(FAILED)
    outcomes = [run_rule_test(unit, all_units(), case, load()) for unit in chosen for case in unit.rule.tests]
    bad = [outcome for outcome in outcomes if outcome.problems]
    if as_json:
        print_json({"items": [{"id": o.unit_id, "name": o.name, "problems": list(o.problems)} for o in outcomes]})
    else:
        for outcome in bad:
            out.print(f"{outcome.unit_id}: {outcome.name}", markup=False)
            for problem in outcome.problems:
                out.print(f"    {problem}", markup=False)
        out.print(f"{len(outcomes)} tests of {len(chosen)} detectors: {len(outcomes) - len(bad)} hold, {len(bad)} fail")
    if bad:
        raise typer.Exit(FAILED)
