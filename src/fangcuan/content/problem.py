"""Problems of content, collected: an author sees all of them at once, each with its address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in one place. `str()` gives `path:line: what, expected, what to do`."""

    path: str
    line: int
    what: str
    expected: str
    todo: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}, {self.expected}, {self.todo}"


class ContentError(Exception):
    """Content cannot be used; carries every problem found."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def from_validation(path: Path, error: ValidationError, line_of: Any) -> list[Problem]:
    """pydantic's errors as problems; `line_of(key path)` gives the line of the nearest key that exists."""
    found = []
    for item in error.errors():
        location = tuple(part for part in item["loc"])
        name = ".".join(str(part) for part in location) or "document"
        value = repr(item.get("input"))
        what = f"{name}: {value if len(value) < 60 else value[:57] + '...'}"
        found.append(Problem(str(path), line_of(location), what, item["msg"], f"correct {name}"))
    return found
