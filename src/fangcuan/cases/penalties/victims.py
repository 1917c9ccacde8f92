"""Who lost by a diversion: the partners in whose territory goods were seen, how many units, and the margin on them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row

from fangcuan.cases.penalties.computation import counted_units
from fangcuan.cases.penalties.lines import Counted
from fangcuan.cases.people.areas import chain_of
from fangcuan.cases.policies.versions import in_force
from fangcuan.core.canonical import decimal_text


def victims(
    connection: Connection, case: Row[Any], moment: dt.datetime, counted: Sequence[Counted] = ()
) -> dict[str, Any]:
    """Volume and margin lost per partner, as plain JSON: an estimate from what was seen, and it says what it does not know.

    The holder of a territory is who has the grant for the nearest region at or above where units were seen, for that
    product; the accused himself is none. Units are shared equally where several hold it. Margin = units ×
    `products.unit_margin` as in force on the last day of what was seen; None where the product or its margin is not known.
    What was sold unseen is in no figure here.
    """
    day = (case.window_end - dt.timedelta(microseconds=1)).date()
    products = {row["sku"]: row for row in in_force(connection, "products", day, moment)}
    grants = in_force(connection, "territories", day, moment)
    rows = []
    for one in counted_units(connection, case.number, counted):
        product = products.get(one.sku or "")
        line = product["product_line"] if product is not None else None
        scopes = {"all", one.sku, line or one.product_line} - {None}
        holders = _holders(connection, grants, one.region_code, scopes, case.subject_id)
        nobody: list[Mapping[str, Any] | None] = [None]
        for grant in holders or nobody:
            rows.append(_row(one, product, grant, len(holders)))
    return {
        "case": case.number,
        "day": day.isoformat(),
        "rows": rows,
        "totals": [
            _total(partner, rows) for partner in sorted({row["partner_id"] for row in rows if row["partner_id"]})
        ],
        "nobodys_units": _sum(row["units"] for row in rows if row["partner_id"] is None),
        "by_codes": bool(counted),
    }


def _holders(
    connection: Connection, grants: Sequence[Mapping[str, Any]], region: str | None, scopes: set[Any], accused: str
) -> list[Mapping[str, Any]]:
    for code in chain_of(connection, region) if region else ():
        mine = [grant for grant in grants if grant["region_code"] == code and grant["scope"] in scopes]
        # One grant a partner, the narrowest scope first in the order of the keys.
        found = {grant["partner_id"]: grant for grant in mine if grant["partner_id"] != accused}
        if found:
            return [found[partner] for partner in sorted(found)]
    return []


def _row(
    one: Counted, product: Mapping[str, Any] | None, grant: Mapping[str, Any] | None, holders: int
) -> dict[str, Any]:
    units = one.units / max(holders, 1)
    # Money without its currency is none.
    margin = product["unit_margin"] if product is not None and product["currency"] else None
    return {
        "partner_id": grant["partner_id"] if grant else None,
        "seen_in": one.region_code,
        "granted": grant["region_code"] if grant else None,
        "grant_id": grant["grant_id"] if grant else None,
        "exclusive": grant["exclusive"] if grant else None,
        "shared_by": holders,
        "sku": one.sku,
        "product_line": one.product_line,
        "units": _text(units),
        "unit_margin": None if margin is None else decimal_text(margin),
        "margin": None if margin is None else _text(units * margin),
        "currency": product["currency"] if product is not None and margin is not None else None,
    }


def _total(partner: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mine = [row for row in rows if row["partner_id"] == partner]
    currencies = sorted({row["currency"] for row in mine if row["currency"]})
    return {
        "partner_id": partner,
        "units": _sum(row["units"] for row in mine),
        "margin": {
            currency: _sum(row["margin"] for row in mine if row["currency"] == currency) for currency in currencies
        },
        "units_without_margin": _sum(row["units"] for row in mine if row["margin"] is None),
    }


def _sum(values: Iterable[str]) -> str:
    return _text(sum((Decimal(value) for value in values), Decimal(0)))


def _text(value: Decimal) -> str:
    """Shares of units and money to four places: more than that nobody counted."""
    return decimal_text(value.quantize(Decimal("0.0001")))
