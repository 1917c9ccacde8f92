"""All content validated at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fangcuan.cases import workflow
from fangcuan.cases.notifying import notifications
from fangcuan.content.problem import ContentError, Problem
from fangcuan.content.roots import files
from fangcuan.detect.detectors import load_detector_units
from fangcuan.detect.estimators import detector_problems
from fangcuan.detect.units import load_units
from fangcuan.flow.configured import source_folders
from fangcuan.ingest.source import load_source


@dataclass(frozen=True)
class Report:
    """Every problem found, in order of place, and a line on what was looked at."""

    problems: tuple[Problem, ...]
    summary: str


class _AnyVariable(dict[str, str]):
    """Stands in for the environment: a source is valid wherever its ${…} will point, as a path, a web address or a database."""

    def __init__(self, form: str):
        super().__init__()
        self._form = form

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return os.environ.get(name) or self._form.format(name.lower())


_FORMS = ("/{}", "http://{}.example", "sqlite:///{}")


def _source_problems(folder: Path) -> list[Problem]:
    """Problems that stand however the variables of its connector are set; none when one way of setting them works."""
    found: list[Problem] = []
    for form in _FORMS:
        try:
            load_source(folder, _AnyVariable(form))
            return []
        except ContentError as error:
            found = found or error.problems
    return found


def _problem(text: str) -> Problem:
    path, line, message = text.split(":", 2)
    return Problem(Path(path), int(line), message.strip())


def check_content() -> Report:
    """Rules with their SQL and shared views, detectors with their models, sources, workflow, notices."""
    problems: list[Problem] = []
    units = 0
    try:
        units = len(load_units())
    except ContentError as error:
        problems.extend(error.problems)
    detectors = 0
    try:
        problems.extend(detector_problems())
        detectors = len(load_detector_units())
    except ContentError as error:
        # A rule that does not load keeps detectors from being compiled; its problems are told already.
        problems.extend(problem for problem in error.problems if problem not in problems)
    folders = source_folders()
    for folder in folders.values():
        problems.extend(_source_problems(folder))
    try:
        workflow.default()
    except workflow.WorkflowError as error:
        problems.extend(_problem(line) for line in str(error).splitlines())
    try:
        notifications.default()
    except ContentError as error:
        problems.extend(error.problems)
    views = sum(1 for _ in files("sql", "views/*.sql"))
    ordered = sorted(problems, key=lambda problem: (str(problem.path), problem.line))
    return Report(
        tuple(ordered),
        f"{units} rules, {detectors} detectors, {views} shared views, {len(folders)} sources, 1 workflow, 1 file of notices",
    )
