"""Custody as maintained relations: each load appends the steps of its own batch, nothing is recomputed.

A step says what happened, not what holds; who held what at a time is the last step before it (sql/views). So late and
withdrawn events need no repair: steps of every batch known by a night, less the withdrawn ones, are the truth of that
night, and a back-filled night sees exactly the steps it would have seen then.
"""

from __future__ import annotations

#: Columns (name → DuckDB type) and file order of each maintained relation; its query is sql/custody/<name>.sql.
CUSTODY: dict[str, tuple[dict[str, str], str]] = {
    "containment_steps": (
        {
            "child_epc": "varchar",
            "parent_epc": "varchar",
            "at": "timestamptz",
            "put_in": "boolean",
            "event_id": "varchar",
            "arrived_on": "date",
            "child_scheme": "varchar",
            "parent_scheme": "varchar",
        },
        'child_epc, "at", parent_epc, event_id',
    ),
    "holding_steps": (
        {
            "epc": "varchar",
            "at": "timestamptz",
            "biz_step": "varchar",
            "partner_id": "varchar",
            "from_partner_id": "varchar",
            "sku": "varchar",
            "lot": "varchar",
            "event_id": "varchar",
            "row_key": "varchar",
            "arrived_on": "date",
        },
        'epc, "at", event_id, biz_step',
    ),
    "end_steps": (
        {
            "epc": "varchar",
            "at": "timestamptz",
            "ended_by": "varchar",
            "partner_id": "varchar",
            "event_id": "varchar",
            "arrived_on": "date",
        },
        'epc, "at", event_id',
    ),
    "withdrawals": (
        {"event_id": "varchar", "withdrawn_by": "varchar", "arrived_on": "date"},
        "event_id, withdrawn_by",
    ),
}
