"""A penalty in words, Chinese or English: every line with its clause, what was counted, the price, cap and rounding."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, select

from fangcuan.cases.letters.rendering import partner_name, region_name, words
from fangcuan.cases.penalties.computation import penalties_of
from fangcuan.cases.workflow import Workflow
from fangcuan.core.canonical import decimal_text
from fangcuan.store.decisions import decision


def told_lines(computation: Mapping[str, Any], language: str) -> list[str]:
    """The lines of a computation (`cases.penalties.computation.compute`), one sentence each."""
    known = words()
    found = []
    for at, each in enumerate(computation["lines"], 1):
        items = [
            known["penalty"]["item"][language].format(
                sku=item["sku"], units=item["units"], unit_price=_money(item["unit_price"], item["currency"])
            )
            for item in each["items"]
        ]
        currency = each["currency"]
        step = known["steps"][each["step"]][language].format(
            days=each["days"] or "–",
            units=each["units"],
            per_unit=_money(each["per_unit"], currency),
            amount=each["amount"],
            items="；".join(items) if language == "zh" else "; ".join(items),
        )
        total = ""
        if each["money"] is not None:
            cap = (
                ""
                if each["cap"] is None
                else known["penalty"]["cap"][language].format(cap=_money(each["cap"], currency))
            )
            total = known["penalty"]["sum"][language].format(
                computed=_money(each["computed"], currency),
                rounding=known["rounding"][each["rounding"]][language],
                cap=cap,
                money=_money(each["money"], currency),
            )
        clause = f"“{each['clause']['wording']}”（{each['clause']['contract_ref']}）"
        if language == "en":
            clause = f"“{each['clause']['wording']}” ({each['clause']['contract_ref']})"
        found.append(
            known["penalty"]["line"][language].format(
                at=at, clause_code=each["clause_code"], step=step, sum=total, clause=clause
            )
        )
    return found


def counted_words(connection: Connection, computation: Mapping[str, Any], language: str) -> str:
    """Which units were counted where, and how."""
    known = words()["penalty"]
    by_region: dict[str | None, Decimal] = {}
    for one in computation["counted"]:
        region = one["region_code"]
        by_region[region] = by_region.get(region, Decimal(0)) + Decimal(one["units"])
    parts = [
        known["in"][language].format(region=region_name(connection, region, language) or "–", units=decimal_text(units))
        for region, units in sorted(by_region.items(), key=lambda item: item[0] or "")
    ]
    by_codes = all(one["codes"] is not None for one in computation["counted"])
    how = known["by_codes" if by_codes else "by_figures"][language]
    return ("、" if language == "zh" else ", ").join(parts) + how


def occurrence_words(computation: Mapping[str, Any], language: str) -> str:
    """Which time it is, within how many days, and after which cases."""
    key = "repeat" if computation["occurrence"] > 1 else "first"
    return str(
        words()["penalty"][key][language].format(
            days=computation["look_back_days"],
            occurrence=computation["occurrence"],
            earlier="、".join(computation["earlier"]) if language == "zh" else ", ".join(computation["earlier"]),
        )
    )


def render_issue(
    connection: Connection, case: Row[Any], row: Row[Any], language: str, *, today: dt.date, until: dt.date
) -> str:
    """The letter with which a penalty goes out. `case` is a row of `case_file`, `row` of `penalty`."""
    computation = row.computation
    return str(words()["issue"][language]).format(
        number=case.number,
        date=today.isoformat(),
        partner=partner_name(connection, row.partner_id),
        outcome=words()["outcomes"].get(row.offence, {}).get(language, row.offence),
        contract=", ".join(computation["contract"]),
        lines="\n\n".join(told_lines(computation, language)),
        claimed=claimed_words(computation["claimed"], row.currency, language),
        counted=counted_words(connection, computation, language),
        occurrence=occurrence_words(computation, language),
        until=until.isoformat(),
    )


def render_review(
    connection: Connection, case: Row[Any], row: Row[Any], rules: Workflow, language: str, *, today: dt.date
) -> str:
    """The letter that tells what became of a penalty: under its status as it is now."""
    mine = next(one for one in penalties_of(connection, case.number) if one["penalty"] == row.penalty)
    label = rules.penalty_statuses[row.status].label
    approved = (decision.c.number == case.number) & (decision.c.verdict == "approved")
    proposed = connection.execute(select(decision.c.proposal).where(approved).limit(1)).first() is not None
    return str(words()["tell"][language]).format(
        number=case.number,
        date=today.isoformat(),
        partner=partner_name(connection, row.partner_id),
        claimed=claimed_words(row.claimed, row.currency, language),
        appeals=len(mine["appeals"]),
        review=label.zh if language == "zh" else label.en.lower(),
        amount=claimed_words(row.due, row.currency, language),
        how=words()["how"]["proposed" if proposed else "direct"][language],
    )


def claimed_words(amount: Decimal | str, currency: str | None, language: str) -> str:
    """`12000 CNY`, or that it is no money."""
    return str(words()["penalty"]["none"][language]) if currency is None else _money(amount, currency)


def _money(amount: Decimal | str | None, currency: str | None) -> str:
    """With at least two places, and thousands apart: 12,345.60 CNY."""
    if amount is None:
        return "–"
    number = Decimal(amount)
    places = max(2, -int(number.normalize().as_tuple().exponent)) if number != number.to_integral_value() else 0
    return f"{number:,.{places}f} {currency or ''}".strip()
