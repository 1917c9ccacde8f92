"""All content validated at once."""

from __future__ import annotations

import os
from dataclasses import dataclass

from fangcuan.cases import workflow
from fangcuan.content.problem import ContentError, Problem
from fangcuan.content.roots import files
from fangcuan.detect.units import load_units
from fangcuan.flow.configured import source_folders
from fangcuan.ingest.source import load_source


@dataclass(frozen=True)
class Report:
    """Every problem found, in order of place, and a line on what was looked at."""

    problems: tuple[Problem, ...]
    summary: str


class _AnyVariable(dict[str, str]):
    """Stands in for the environment: a source is valid wherever its ${…} will point."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return os.environ.get(name, f"/{name.lower()}")


def check_content() -> Report:
    """Rules with their SQL and shared views, sources, workflow."""
    problems: list[Problem] = []
    units = 0
    try:
        units = len(load_units())
    except ContentError as error:
        problems.extend(error.problems)
    folders = source_folders()
    for folder in folders.values():
        try:
            load_source(folder, _AnyVariable())
        except ContentError as error:
            problems.extend(error.problems)
    try:
        workflow.default()
    except ContentError as error:
        problems.extend(error.problems)
    views = sum(1 for _ in files("sql", "views/*.sql"))
    ordered = sorted(problems, key=lambda problem: (str(problem.path), problem.line))
    return Report(tuple(ordered), f"{units} units, {views} shared views, {len(folders)} sources, 1 workflow")
