"""Which cases a role that is granted for a region, a brand or a partner can reach at all, asked of the database.

`areas.area_of` says of one case where it belongs, and `access.covers` whether a grant reaches it. This says it of all cases in
one query, and never less: whoever looks for a case that he may have asks here first, and then of what is left one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, Table, and_, false, func, or_, select, true

from fangcuan.cases.people.areas import PARTNER
from fangcuan.store.casework import case_file, case_finding, finding
from fangcuan.store.masters import MASTER_TABLES

#: Regions that a query names; a role for more of them reaches so much that asking one by one is quick.
MOST_REGIONS = 10_000


def within(connection: Connection, grants: Sequence[Row[Any]]) -> ColumnElement[bool]:
    """SQL condition over `case_file` that holds for every case that one of these grants reaches, and for few others."""
    return or_(false(), *(_within(connection, grant) for grant in grants))


def _within(connection: Connection, grant: Row[Any]) -> ColumnElement[bool]:
    asked: list[ColumnElement[bool]] = []
    if grant.partner_id is not None:
        asked.append((case_file.c.subject_kind == PARTNER) & (case_file.c.subject_id == grant.partner_id))
    elif grant.region_code is not None:
        inside = _inside(connection, grant.region_code)
        if len(inside) <= MOST_REGIONS:
            asked.append(_in_regions(inside))
    if grant.partner_id is None and grant.brand is not None:
        asked.append(_of_brand(grant.brand))
    return and_(true(), *asked)


def _in_regions(inside: Sequence[str]) -> ColumnElement[bool]:
    """The partner a case is about sits in one of the regions; where that is not known, one of its findings does."""
    seats = _latest(MASTER_TABLES["partners"], "partner_id")
    seated = select(seats.c.partner_id).where(seats.c.region_code.is_not(None))
    there = seated.where(seats.c.region_code.in_(inside))
    partner = case_file.c.subject_kind == PARTNER
    seen = _with_finding(finding.c.region_code.in_(inside))
    return or_(
        partner & case_file.c.subject_id.in_(there),
        ~(partner & case_file.c.subject_id.in_(seated)) & case_file.c.number.in_(seen),
    )


def _of_brand(brand: str) -> ColumnElement[bool]:
    """A product the case is about, or one of its findings, is of the brand."""
    products = MASTER_TABLES["products"]
    skus = select(products.c.sku).where(products.c.brand == brand)
    lines = select(products.c.product_line).where(products.c.brand == brand, products.c.product_line.is_not(None))
    seen = _with_finding(finding.c.sku.in_(skus) | finding.c.product_line.in_(lines))
    return or_(case_file.c.sku.in_(skus), case_file.c.product_line.in_(lines), case_file.c.number.in_(seen))


def _with_finding(asked: ColumnElement[bool]) -> Select[Any]:
    joined = select(case_finding.c.number).join(finding, finding.c.finding_id == case_finding.c.finding_id)
    return joined.where(asked)


def _inside(connection: Connection, code: str) -> list[str]:
    """A region and all below it, as the rows that were recorded last say; a loop ends where it comes round."""
    regions = MASTER_TABLES["regions"]
    oldest_first = (regions.c.recorded_at.asc().nulls_first(), regions.c.row_digest.asc())
    rows = connection.execute(select(regions.c.region_code, regions.c.parent_code).order_by(*oldest_first))
    below: dict[str, list[str]] = defaultdict(list)
    for name, parent in {row.region_code: row.parent_code for row in rows}.items():
        below[parent].append(name)
    inside, following = {code}, [code]
    while following:
        fresh = [name for name in below[following.pop()] if name not in inside]
        inside.update(fresh)
        following += fresh
    return sorted(inside)


def _latest(table: Table, key: str) -> FromClause:
    """The row of each key that was recorded last, in the order of `areas`."""
    newest = (table.c.recorded_at.desc().nulls_last(), table.c.row_digest.desc())
    place = func.row_number().over(partition_by=table.c[key], order_by=newest).label("place")
    ranked = select(*table.c, place).subquery()
    return select(ranked).where(ranked.c.place == 1).subquery()
