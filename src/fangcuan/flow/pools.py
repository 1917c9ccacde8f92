"""Airflow pools: what of the work may run at once. Known to the DAG files and to whoever creates the pools."""

from __future__ import annotations

from enum import StrEnum


class Pool(StrEnum):
    """Pools the tasks of the DAG files name. Airflow never starts a task whose pool does not exist."""

    SOURCES = "fangcuan_sources"
    UNITS = "fangcuan_units"
    CASEBOOK = "fangcuan_casebook"


#: Slots and description of each.
POOLS: dict[Pool, tuple[int, str]] = {
    Pool.SOURCES: (4, "Pulls of one source each: bounded by what remote systems and the network bear."),
    Pool.UNITS: (2, "Detection units: each may use the memory limit of the settings."),
    Pool.CASEBOOK: (1, "Steps that write the casebook for the whole night: one at a time."),
}


def pools_json() -> dict[str, dict[str, object]]:
    """The content of a file for `airflow pools import`."""
    return {
        str(pool): {"slots": slots, "description": about, "include_deferred": False}
        for pool, (slots, about) in POOLS.items()
    }
