"""What all commands share: the installation, JSON output, tables, and errors told once, in one shape."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from fangcuan.settings import SettingsError

#: Exit codes beside 0 (done, nothing found) and 2 (wrong usage).
FAILED, CASES_FILED, NOT_LOOKED = 1, 10, 20

_TERMINAL = os.isatty(1)
out = Console(highlight=False, soft_wrap=not _TERMINAL, width=None if _TERMINAL else 220)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of the installation (default: where fangcuan.toml is found).")
]
Acting = Annotated[
    str | None, typer.Option("--as", help="Who acts (default: FANGCUAN_USER, else the operating system's user).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, stable between runs.")]

Command = TypeVar("Command", bound=Callable[..., Any])


def told(command: Command) -> Command:
    """Errors that a user can mend become one line on stderr and exit code 1; everything else keeps its traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        from sqlalchemy.exc import OperationalError

        from fangcuan.cases.evidence.s3 import EvidenceUnreachable
        from fangcuan.cases.executor import CommandRefused
        from fangcuan.cases.history.checkpoints import CheckpointRefused
        from fangcuan.cases.history.keys import KeyRefused
        from fangcuan.cases.history.notes import NoteError
        from fangcuan.cases.history.proofs import NotProvable
        from fangcuan.content.problem import ContentError
        from fangcuan.flow.capture_wire import CaptureFailed, CaptureRefused
        from fangcuan.flow.export import ExportError
        from fangcuan.flow.exporting import ExportRefused
        from fangcuan.flow.installation import NotInitialised
        from fangcuan.flow.night import NightFailed
        from fangcuan.flow.pinned import ContentRefused
        from fangcuan.flow.quarantine import NothingThere
        from fangcuan.store.database import DatabaseMissing

        known = (
            SettingsError,
            ContentError,
            ContentRefused,
            NotInitialised,
            NightFailed,
            NothingThere,
            ExportError,
            CaptureFailed,
            CaptureRefused,
            ExportRefused,
            CheckpointRefused,
            CommandRefused,
            EvidenceUnreachable,
            KeyRefused,
            NotProvable,
            NoteError,
            DatabaseMissing,
        )
        try:
            return command(*args, **kwargs)
        except known as error:
            err.print(f"[red]error[/red] {_escaped(str(error))}")
            raise typer.Exit(FAILED) from error
        except OperationalError as error:
            err.print(f"[red]error[/red] casebook: {_escaped(str(error.orig))}; see database_url in fangcuan.toml")
            raise typer.Exit(FAILED) from error

    return run  # type: ignore[return-value]


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")


def installation(home: Path | None) -> Any:
    from fangcuan.flow.installation import open_installation

    return open_installation(home)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout, nothing else."""
    print(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, default=str))


def print_items(
    items: Sequence[Mapping[str, Any]], as_json: bool, columns: Iterable[tuple[str, str]], empty: str
) -> None:
    """A list as `{"items": […]}`, or as a table of (heading, key) columns; `empty` is said where there is nothing."""
    if as_json:
        print_json({"items": list(items)})
        return
    if not items:
        out.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    chosen = list(columns)
    for heading, _ in chosen:
        table.add_column(heading, overflow="fold")
    for item in items:
        table.add_row(*(_escaped(_cell(item, key)) for _, key in chosen))
    out.print(table)


def _cell(item: Mapping[str, Any], key: str) -> str:
    value: Any = item
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return "–" if value is None else ("yes" if value is True else "no" if value is False else str(value))
