"""Which fields of two evidence artefacts differ, each named by its path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Stands for a field that one side has not.
ABSENT = None


def differences(filed: Any, replayed: Any) -> list[dict[str, Any]]:
    """[{"field", "filed", "replayed"}] in the order of the fields. Rows are known by relation and key, not by place."""
    return [{"field": name, "filed": a, "replayed": b} for name, a, b in _walk("", filed, replayed)]


def _walk(at: str, filed: Any, replayed: Any) -> Iterator[tuple[str, Any, Any]]:
    if filed == replayed and type(filed) is type(replayed):
        return
    first, second = _keyed(filed), _keyed(replayed)
    if first is None or second is None:
        yield at or "all", filed, replayed
        return
    for key in sorted({*first, *second}):
        name = f"{at}[{key}]" if isinstance(filed, list) else f"{at}.{key}" if at else key
        if key not in first:
            yield name, ABSENT, second[key]
        elif key not in second:
            yield name, first[key], ABSENT
        else:
            yield from _walk(name, first[key], second[key])


def _keyed(value: Any) -> Mapping[str, Any] | None:
    """A mapping as it is, and a list of rows by relation and key; None for everything else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list) and all(isinstance(row, Mapping) and {"relation", "key"} <= row.keys() for row in value):
        found = {f"{row['relation']} {row['key']}": row for row in value}
        return found if len(found) == len(value) else None
    return None
