"""The arithmetic of a penalty: which rung of a ladder holds, and what each of its steps comes to. Decimals, and no tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any

from fangcuan.cases.refusals import GuardFailed
from fangcuan.core.canonical import decimal_text
from fangcuan.core.masters import PENALTY_STEPS

#: Currencies whose smallest unit is no hundredth (ISO 4217); all others have two places.
MINOR_UNITS: Mapping[str, int] = {
    "JPY": 0,
    "KRW": 0,
    "VND": 0,
    "CLP": 0,
    "BHD": 3,
    "KWD": 3,
    "OMR": 3,
    "TND": 3,
    "JOD": 3,
}
_ROUNDING = {"down": ROUND_DOWN, "half_up": ROUND_HALF_UP, "up": ROUND_CEILING}
#: Where a ladder says nothing: in favour of who pays.
DEFAULT_ROUNDING = "down"


@dataclass(frozen=True)
class Counted:
    """Units of one product that were seen in one region.

    `codes` is the sha256 over their codes, sorted and joined by line breaks; None where only a figure is known, and `sku` None
    where the product is known by its line alone.
    """

    region_code: str | None
    sku: str | None
    product_line: str | None
    units: Decimal
    codes: str | None = None


@dataclass(frozen=True)
class Price:
    """List price of one unit of a product, as it was in force."""

    amount: Decimal
    currency: str


def rung(rows: Sequence[Mapping[str, Any]], units: Decimal, repeats: Callable[[int], int]) -> list[Mapping[str, Any]]:
    """The rows of a ladder that hold together: its steps for this quantity and this time, in the order of PENALTY_STEPS.

    `rows` are those of one ladder and offence that fit the class; `repeats(days)` counts earlier penalties within so many days.
    Of the rows whose quantity and occurrence are reached, those of the rung that climbs highest hold: one for the class before
    one for any, then the later occurrence, then the larger quantity. Empty where none is reached.
    """

    def height(row: Mapping[str, Any]) -> tuple[bool, int, Decimal]:
        return (row["class"] is not None, row["occurrence"], row["min_quantity"] or Decimal(0))

    reached = [
        row
        for row in rows
        if (row["min_quantity"] or Decimal(0)) <= units and row["occurrence"] <= 1 + repeats(row["look_back_days"])
    ]
    if not reached:
        return []
    highest = max(height(row) for row in reached)
    return sorted(
        (row for row in reached if height(row) == highest), key=lambda row: PENALTY_STEPS.index(str(row["step"]))
    )


def line(row: Mapping[str, Any], counted: Sequence[Counted], prices: Mapping[str, Price]) -> dict[str, Any]:
    """What one step comes to: `money` in `currency` where it is money, else what it asks for.

    fine_fixed = amount; fine_per_unit and buy_back = amount × units; fine_multiple_of_price = amount × Σ units × list price. Then
    rounded to the smallest unit of the currency, and at most `cap`. Percentages are stated: what they are of, the books know.
    Raises GuardFailed where a price or a product is not known, or in another currency.
    """
    step, amount = str(row["step"]), row["amount"]
    units = sum((one.units for one in counted), Decimal(0))
    found: dict[str, Any] = {
        "step": step,
        "ladder": row["ladder_id"],
        "row": row["business_key"],
        "clause_code": row["clause_code"],
        "units": None,
        "per_unit": None,
        "items": [],
        "computed": None,
        "rounding": None,
        "cap": None,
        "money": None,
        "currency": None,
        "amount": _text(amount),
        "days": row["days"],
    }
    currency = row["currency"]
    if step == "fine_fixed":
        computed = amount
    elif step in ("fine_per_unit", "buy_back"):
        computed = amount * units
        found |= {"units": _text(units), "per_unit": _text(amount)}
    elif step == "fine_multiple_of_price":
        items = [_item(one, prices, row["business_key"]) for one in _by_sku(counted)]
        currency = currency or items[0]["currency"]
        if foreign := sorted({item["currency"] for item in items} - {currency}):
            raise GuardFailed(
                f"penalty: list prices in {', '.join(foreign)}, the ladder in {currency}; name one currency"
            )
        computed = amount * sum((Decimal(item["price_of_units"]) for item in items), Decimal(0))
        found |= {"units": _text(units), "items": items}
    else:
        return found
    rounding = row["rounding"] or DEFAULT_ROUNDING
    money = rounded(computed, currency, rounding)
    if row["cap"] is not None:
        money = min(money, row["cap"])
    found |= {"computed": _text(computed), "rounding": rounding, "cap": _text(row["cap"]), "currency": currency}
    return found | {"money": _text(money)}


def rounded(amount: Decimal, currency: str, how: str) -> Decimal:
    """An amount to the smallest unit of its currency, `down` (towards nothing), `half_up` or `up`."""
    places = MINOR_UNITS.get(currency, 2)
    return amount.quantize(Decimal(1).scaleb(-places), _ROUNDING[how])


def total(lines: Iterable[Mapping[str, Any]]) -> tuple[Decimal, str | None]:
    """Money of all lines, and its currency; nothing and None where no line is money. Raises GuardFailed for several."""
    money = [each for each in lines if each["money"] is not None]
    currencies = sorted({each["currency"] for each in money})
    if len(currencies) > 1:
        raise GuardFailed(f"penalty: the ladder asks for {', '.join(currencies)}; a penalty has one currency")
    return sum((Decimal(each["money"]) for each in money), Decimal(0)), (currencies[0] if currencies else None)


def _by_sku(counted: Sequence[Counted]) -> list[Counted]:
    """One line a product, whichever regions its units were seen in."""
    found: dict[tuple[str, str], Decimal] = {}
    for one in counted:
        key = (one.sku or "", one.product_line or "")
        found[key] = found.get(key, Decimal(0)) + one.units
    return [
        Counted(None, sku or None, product_line or None, units) for (sku, product_line), units in sorted(found.items())
    ]


def _item(one: Counted, prices: Mapping[str, Price], row: str) -> dict[str, Any]:
    if one.sku is None:
        raise GuardFailed(
            f"penalty: row {row} goes by list prices, and of {one.product_line or 'some units'} it is not known which products "
            f"were seen"
        )
    price = prices.get(one.sku)
    if price is None:
        raise GuardFailed(f"penalty: row {row} goes by list prices, and {one.sku} had none on that day")
    return {
        "sku": one.sku,
        "units": _text(one.units),
        "unit_price": _text(price.amount),
        "price_of_units": _text(one.units * price.amount),
        "currency": price.currency,
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else decimal_text(value)
