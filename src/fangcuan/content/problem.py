"""Problems of content, collected: an author sees all of them at once, each with its address."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from fangcuan.content.yaml_lines import ContentError, Lines, Problem, line_of

__all__ = ["ContentError", "Problem", "complain", "from_validation", "refuse"]


def complain(path: Path, line: int, what: str, expected: str, todo: str) -> Problem:
    """One problem, worded as all of them are: what, expected what, what to do."""
    return Problem(path, line, f"{what}; expected {expected}; {todo}")


def refuse(problems: Iterable[Problem]) -> None:
    """Raise ContentError with all problems in order of place, if there is any."""
    found = sorted(problems, key=lambda problem: (str(problem.path), problem.line, problem.message))
    if found:
        raise ContentError(found)


def from_validation(path: Path, error: ValidationError, lines: Lines) -> list[Problem]:
    """pydantic's errors as problems."""
    found = []
    for item in error.errors():
        location = tuple(item["loc"])
        name = ".".join(str(part) for part in location) or "document"
        value = repr(item.get("input"))
        shown = value if len(value) < 60 else value[:57] + "..."
        found.append(complain(path, line_of(lines, location), f"{name}: {shown}", item["msg"], f"correct {name}"))
    return found
