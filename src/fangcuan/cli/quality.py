"""quality: measure detection on worlds at the level of counts."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fangcuan.cli.shared import FAILED, AsJson, err, out, print_items, print_json, told


def add(app: typer.Typer) -> None:
    app.command()(quality)


@told
def quality(
    quick: Annotated[bool, typer.Option("--quick", help="Three families of small worlds only.")] = False,
    family: Annotated[list[str] | None, typer.Option(help="This family of worlds only; may be given again.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="This rule only; may be given again.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Worlds of each family and coverage.")] = None,
    dealers: Annotated[int | None, typer.Option(min=10, help="Dealers of each world.")] = None,
    years: Annotated[int | None, typer.Option(min=1, help="Judged years of each world.")] = None,
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the figures to this JSON file as well.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the rules of practice on synthetic worlds with truth: false cases, recall, delay, money, with intervals."""
    from fangcuan.quality.baselines import baselines
    from fangcuan.quality.bench import QUICK, Plan, run

    plan = QUICK if quick else Plan()
    makers = baselines()
    changes: dict[str, Any] = {"families": tuple(family or plan.families), "dealers": dealers or plan.dealers}
    changes |= {"years": years or plan.years, "seeds": tuple(range(1, seeds + 1)) if seeds else plan.seeds}
    plan = dataclasses.replace(plan, **changes)
    try:
        for name, coverage in plan.settings():
            plan.specs(name, coverage)
        if unknown := sorted(set(method or ()) - set(makers)):
            raise ValueError(f"no rule {', '.join(unknown)}; there are {', '.join(makers)}")
    except ValueError as error:
        err.print(f"[red]error[/red] {error}", soft_wrap=True)
        raise typer.Exit(FAILED) from error
    with _bar(len(plan.settings()) * len(plan.seeds)) as progress:
        result = run(plan, {name: make for name, make in makers.items() if not method or name in method}, progress)
    if out_file is not None:
        out_file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, ensure_ascii=False, indent=1, sort_keys=True)
        out_file.write_text(text + "\n", encoding="utf-8")
    if as_json:
        # What was measured is the same in every run; how long it took is not.
        print_json({name: value for name, value in result.items() if name != "seconds"})
        return
    columns = (
        ("family", "family"),
        ("coverage", "coverage"),
        ("rule", "method"),
        ("cases", "cases"),
        ("false a year", "false_cases_per_year"),
        ("at most", "false_cases_per_year_upper"),
        ("false share", "false_discovery_rate.mean"),
        ("schemes found", "scheme_recall.mean"),
        ("volume found", "volume_recall.mean"),
        ("nights", "nights_to_filing"),
        ("top 20 right", "precision_of_top.mean"),
        ("money", "money_captured.mean"),
    )
    print_items(result["results"], False, columns, "nothing was measured")
    if out_file is not None:
        out.print(f"figures: {out_file}")


class _bar:
    """A progress bar in a terminal, plain lines in a log."""

    def __init__(self, total: int):
        self._total = total
        self._terminal = os.isatty(2)

    def __enter__(self) -> Any:
        if not self._terminal:
            return lambda done, total, what: err.print(f"{done} of {total} worlds; {what}", markup=False)
        columns = (TextColumn("worlds"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, TextColumn("{task.description}"), console=err, transient=True)
        self._progress.start()
        task = self._progress.add_task("", total=self._total)
        return lambda done, total, what: self._progress.update(task, completed=done, description=what)

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            self._progress.stop()
