"""Where a case belongs, for roles that are granted for a region or a brand: as the master data say now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from fangcuan.cases.people.access import Area
from fangcuan.store.casework import case_finding, finding
from fangcuan.store.masters import MASTER_TABLES

PARTNER = "partner"


def area_of(connection: Connection, case: Row[Any]) -> Area:
    """Regions and brands of a case (a row of `case_file`).

    A case about a partner belongs where the partner sits, whoever's goods were seen elsewhere. Where that is not known, and
    for other subjects, it belongs to every region that its findings name. Its brands are those of the products it is about.
    """
    joined = select(finding.c.region_code, finding.c.sku, finding.c.product_line).distinct()
    joined = joined.join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
    rows = connection.execute(joined.where(case_finding.c.number == case.number)).all()
    codes = {partner_region(connection, case.subject_id)} if case.subject_kind == PARTNER else {None}
    if codes == {None}:
        codes = {row.region_code for row in rows}
    chains = tuple(chain_of(connection, code) for code in sorted(code for code in codes if code))
    skus = {case.sku} if case.sku else {row.sku for row in rows if row.sku}
    lines = {case.product_line} if case.product_line else {row.product_line for row in rows if row.product_line}
    about = case.subject_id if case.subject_kind == PARTNER else None
    return Area(chains, _brands(connection, skus, lines), about)


def area_of_row(connection: Connection, row: Mapping[str, Any]) -> Area:
    """Where a row of a policy belongs: the regions it names, its own or those of its partners, and the brand of its scope.

    One that names none is meant for everywhere, which only a role that holds everywhere reaches.
    """
    codes = [row[name] for name in ("region_code",) if row.get(name)]
    if not codes:
        named = [row[name] for name in ("partner_id", "from_partner_id", "to_partner_id") if row.get(name)]
        found = [partner_region(connection, partner_id) for partner_id in named]
        codes = [] if None in found else [str(code) for code in found]
    chains = tuple(chain_of(connection, code) for code in sorted(set(codes)))
    scope = row.get("scope")
    if scope in (None, "all"):
        return Area(chains)
    return Area(chains, _brands(connection, {scope}, set()) or _brands(connection, set(), {scope}))


def _latest(connection: Connection, relation: str, column: str, value: str) -> Row[Any] | None:
    """The row of a master relation that was recorded last for a value of its key's column."""
    table = MASTER_TABLES[relation]
    newest = (table.c.recorded_at.desc().nulls_last(), table.c.row_digest.desc())
    return connection.execute(select(table).where(table.c[column] == value).order_by(*newest).limit(1)).one_or_none()


def partner_region(connection: Connection, partner_id: str) -> str | None:
    row = _latest(connection, "partners", "partner_id", partner_id)
    return None if row is None else row.region_code


def chain_of(connection: Connection, code: str) -> tuple[str, ...]:
    """A region and all above it. A loop in the master data ends where it comes round."""
    chain: list[str] = []
    following: str | None = code
    while following and following not in chain:
        chain.append(following)
        row = _latest(connection, "regions", "region_code", following)
        following = row.parent_code if row is not None else None
    return tuple(chain)


def _brands(connection: Connection, skus: set[str], lines: set[str]) -> frozenset[str]:
    """Brands of the products a case is about; empty where one is unknown or has none, because then nobody can say."""
    if not skus and not lines:
        return frozenset()
    products = MASTER_TABLES["products"]
    about = products.c.sku.in_(sorted(skus)) if skus else products.c.product_line.in_(sorted(lines))
    rows = connection.execute(select(products.c.sku, products.c.brand).where(about).distinct()).all()
    unknown = skus - {row.sku for row in rows}
    brands = {row.brand for row in rows}
    return frozenset() if unknown or None in brands else frozenset(brands)
