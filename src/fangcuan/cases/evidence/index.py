"""Everything the casebook says is in the evidence store: what a scrub has to find there."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from fangcuan.store.casework import finding_occurrence
from fangcuan.store.correspondence import partner_answer, partner_notice
from fangcuan.store.decisions import case_attachment

_ROWS = 10_000


def expected(connection: Connection) -> Iterator[str]:
    """sha256 of every artefact of a finding, attachment, letter and file of an answer; the same one may come again."""
    for column in (finding_occurrence.c.evidence_sha256, case_attachment.c.sha256, partner_notice.c.sha256):
        query = select(column).distinct()
        yield from connection.execute(query, execution_options={"yield_per": _ROWS}).scalars()
    for files in connection.execute(select(partner_answer.c.files)).scalars():
        yield from (file["sha256"] for file in files)
