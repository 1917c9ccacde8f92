"""Where the findings of a key go: the case that stands for it now, and whether later findings wake it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, select

from fangcuan.cases.filing.grouping import KnownCase
from fangcuan.cases.filing.registry import chunks
from fangcuan.cases.penalties.computation import has_ended
from fangcuan.cases.workflow import Workflow
from fangcuan.store.casework import case_file


def latest_cases(connection: Connection, workflow: Workflow, keys: Iterable[str]) -> dict[str, KnownCase]:
    """Where findings of each key that has a case go: its latest epoch, or the case that one was merged into."""
    found: dict[str, KnownCase] = {}
    for part in chunks(sorted(keys)):
        rows = connection.execute(_latest().where(case_file.c.case_key.in_(part)))
        where = {row.case_key: (row, _joined(connection, workflow, row)) for row in rows}
        ended = has_ended(connection, workflow, [stands.number for _, stands in where.values() if not stands.is_open])
        for key, (row, stands) in where.items():
            wakes = workflow.has(stands.status, "wakes") and stands.number not in ended
            found[key] = KnownCase(stands.number, row.epoch, stands.is_open, wakes, stands.decision_cutoff)
    return found


def _latest() -> Any:
    """Cases with their epochs in order, so that of each key the last row is the latest."""
    columns = (case_file.c.case_key, case_file.c.number, case_file.c.epoch, case_file.c.status, case_file.c.is_open)
    query = select(*columns, case_file.c.decision_cutoff, case_file.c.merged_into)
    return query.order_by(case_file.c.case_key, case_file.c.epoch)


def _joined(connection: Connection, workflow: Workflow, row: Row[Any]) -> Row[Any]:
    """The case that a merged one became part of: the latest epoch of its key, wherever that was merged into."""
    seen: set[str] = set()
    while workflow.has(row.status, "joined") and row.number not in seen:
        seen.add(row.number)
        key = select(case_file.c.case_key).where(case_file.c.number == row.merged_into).scalar_subquery()
        following = connection.execute(_latest().where(case_file.c.case_key == key)).all()
        if not following:
            break
        row = following[-1]
    return row
