"""Both sides of every pair of neighbours as rows of their own."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fangcuan.authoring import POSITION, repeated


def extract(chunk: pa.Table) -> pa.Table:
    both = repeated(chunk, 2)
    first = pc.equal(both.column("part"), 1)
    return pa.table(
        {
            "adcode": pc.if_else(first, both.column("adcode_a"), both.column("adcode_b")),
            "name": pc.if_else(first, both.column("name_a"), both.column("name_b")),
            POSITION: both.column(POSITION),
        }
    )
