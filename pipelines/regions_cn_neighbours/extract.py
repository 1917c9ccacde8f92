"""A pair of neighbours in both directions; the two files call its columns differently."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fangcuan.authoring import POSITION, Refused, repeated


def extract(chunk: pa.Table) -> pa.Table:
    names = [name for name in chunk.column_names if name.startswith(("code_", "adcode_"))]
    if len(names) != 2:
        raise Refused("missing_column", "expected code_a and code_b, or adcode_a and adcode_b")
    both = repeated(chunk, 2)
    left, right = both.column(names[0]), both.column(names[1])
    forth = pc.equal(both.column("part"), 1)
    return pa.table(
        {
            "one": pc.if_else(forth, left, right),
            "other": pc.if_else(forth, right, left),
            POSITION: both.column(POSITION),
        }
    )
