"""Shared SQL: `sql/views/<name>.sql` (one select each, read by units) and `sql/custody/<name>.sql` (run at load)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from fangcuan.content.problem import complain, refuse
from fangcuan.content.roots import content_roots, signature


def _read(folder: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for root in content_roots():
        for path in sorted((root / "sql" / folder).glob("*.sql")):
            if path.stem in found:
                shown = Path("sql") / folder / path.name
                refuse([complain(shown, 1, f"{path.stem} exists twice", "one file per name", "rename one")])
            found[path.stem] = path.read_text(encoding="utf-8")
    return found


@lru_cache(maxsize=8)
def _cached(folder: str, _files: tuple[tuple[str, int, int], ...]) -> dict[str, str]:
    return _read(folder)


def shared_views() -> dict[str, str]:
    """Views any unit may read, by name."""
    return _cached("views", signature("sql", "views/*.sql"))


def custody_steps() -> dict[str, str]:
    """Queries over the rows of one freshly loaded batch (`batch_rows`), by the relation they maintain."""
    return _cached("custody", signature("sql", "custody/*.sql"))
