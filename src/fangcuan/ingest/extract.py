"""`pipelines/<id>/extract.py`: what a source does to raw rows before they are mapped, where YAML cannot say it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from fangcuan.ingest.base import POSITION, PROBLEMS, Refused
from fangcuan.ingest.source import SourceSpec

FILE_NAME = "extract.py"
PACKAGE = "fangcuan.content.pipelines"

Extract = Callable[[pa.Table], pa.Table]


def extractor(spec: SourceSpec) -> Extract | None:
    """The source's own extraction, checked; None where it has none. Calling it raises Refused."""
    path = spec.folder / FILE_NAME
    # A source that was not read from a folder (a world's) has none; the working directory is not its folder.
    if not spec.folder.is_absolute() or not path.is_file():
        return None
    state = path.stat()
    return _loaded(spec.id, path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _loaded(source_id: str, path: Path, _changed: int, _size: int) -> Extract:
    # By its place, not through the package's search path: a source of that name elsewhere must not step in.
    specification = importlib.util.spec_from_file_location(f"{PACKAGE}.{source_id}.extract", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)

    def run(chunk: pa.Table) -> pa.Table:
        try:
            if not hasattr(module, "extract"):
                specification.loader.exec_module(module)  # type: ignore[union-attr]
            found = module.extract(chunk)
        except Refused:
            raise
        except Exception as error:  # somebody else's code: whatever it raises, this document cannot be used
            raise Refused("extract_failed", f"{FILE_NAME}: {type(error).__name__}: {error}") from error
        return _checked(found)

    return run


def _checked(found: object) -> pa.Table:
    if not isinstance(found, pa.Table):
        raise Refused("extract_failed", f"{FILE_NAME} gave {type(found).__name__}; expected a pyarrow table")
    for name in (POSITION, PROBLEMS):
        if name in found.column_names and not pa.types.is_string(found.schema.field(name).type):
            raise Refused("extract_failed", f"{FILE_NAME}: column {name!r} is no text", column=name)
    if POSITION not in found.column_names or found.column(POSITION).null_count:
        raise Refused(
            "extract_failed", f"{FILE_NAME} lost {POSITION!r}; every row must keep its place", column=POSITION
        )
    return found


__all__ = ["extractor"]
