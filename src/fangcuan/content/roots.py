"""Where content lies: the shipped folders, then private overlays, each with rules/ detectors/ pipelines/ sql/."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

KINDS = ("rules", "detectors", "pipelines", "sql")
_PACKAGE = Path(__file__).resolve().parent.parent
_only: ContextVar[Path | None] = ContextVar("content_root", default=None)


def shipped_root() -> Path:
    """The content that came with the package: beside `src/` in a checkout, inside the package in a wheel."""
    checkout = _PACKAGE.parent.parent
    if (checkout / "rules").is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout
    return _PACKAGE / "_content"


def content_roots() -> tuple[Path, ...]:
    """The shipped root, then the folders of FANGCUAN_CONTENT (separated as PATH is), which may add units."""
    chosen = _only.get()
    if chosen is not None:
        return (chosen,)
    overlays = (Path(part) for part in os.environ.get("FANGCUAN_CONTENT", "").split(os.pathsep) if part)
    return (shipped_root(), *(path.resolve() for path in overlays))


@contextmanager
def only(root: Path) -> Iterator[None]:
    """Within the block content is what lies in `root`, and nothing else: how a past night's content is looked at again."""
    token = _only.set(root.resolve())
    try:
        yield
    finally:
        _only.reset(token)


def folders(kind: str) -> list[str]:
    """Existing folders of one kind, shipped first; what `fangcuan.content.<kind>.__path__` is made of."""
    return [str(root / kind) for root in content_roots() if (root / kind).is_dir()]


def files(kind: str, pattern: str) -> Iterator[tuple[Path, Path]]:
    """(root, file) of every content file of one kind that matches `pattern`, in a stable order."""
    for root in content_roots():
        base = root / kind
        if base.is_dir():
            for path in sorted(base.glob(pattern)):
                yield root, path


def signature(kind: str, pattern: str) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of every file of a kind: what a cache of parsed content is valid for."""
    found = []
    for _, path in files(kind, pattern):
        status = path.stat()
        found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)
