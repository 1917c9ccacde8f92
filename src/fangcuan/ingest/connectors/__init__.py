"""Connectors: one kind, one module of this package, named after the kind.

A module holds one class with `kind`, `Options`, `fetch` and `read` (see `fangcuan.ingest.base.Connector`). Adding a kind is
adding a module; nothing is registered anywhere else. Modules are imported when their kind is used.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from fangcuan.ingest.base import Connector, RawChunk, RawDocument


@cache
def kinds() -> tuple[str, ...]:
    """Every connector kind there is."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg and not m.name.startswith("_")))


@cache
def get(kind: str) -> Connector:
    """The connector of that kind. Raises KeyError for an unknown kind."""
    if kind not in kinds():
        raise KeyError(kind)
    module = importlib.import_module(f"{__name__}.{kind}")
    for candidate in vars(module).values():
        if (
            isinstance(candidate, type)
            and candidate.__module__ == module.__name__
            and vars(candidate).get("kind") == kind
        ):
            connector: Connector = candidate()
            return connector
    raise TypeError(f"{module.__name__} has no class with kind = {kind!r}")


def default_reader(document: RawDocument, chunk_rows: int = 100_000) -> Iterator[RawChunk]:
    """Rows of a file that follows the contract, read by its suffix (CSV, JSON lines, Parquet, Excel; also .gz)."""
    files = get("files")
    return files.read(document, files.Options.model_validate({"path": document.name}), chunk_rows)


def merged_state(state: Mapping[str, Any], watermark: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `FetchContext.state` must hold next time, once the document with that watermark is loaded.

    Mappings are merged key by key, so that a connector may remember one thing per document.
    """
    merged = dict(state)
    for key, value in (watermark or {}).items():
        before = merged.get(key)
        merged[key] = (
            merged_state(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
        )
    return merged
