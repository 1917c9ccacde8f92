"""Letters to partners, rendered in Chinese or English from the words of `letters.yml` and the facts of one case."""

from __future__ import annotations

import datetime as dt
from functools import cache
from importlib import resources
from typing import Any

import yaml
from sqlalchemy import Connection, Row, select

from fangcuan.cases.letters.correspondence import REASONS, answers_of
from fangcuan.store.casework import case_finding, finding
from fangcuan.store.decisions import decision
from fangcuan.store.masters import MASTER_TABLES

#: Named in a letter at most; the rest is counted.
MOST = 8


@cache
def words() -> dict[str, Any]:
    """`letters.yml`: texts by kind and language, and words for families, reasons and outcomes."""
    text = (resources.files("fangcuan.cases.letters") / "letters.yml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def render(
    connection: Connection,
    case: Row[Any],
    kind: str,
    language: str,
    *,
    today: dt.date,
    due: dt.date | None = None,
    appeal_days: int = 0,
) -> str:
    """The text of a `request` or `letter` about a case, a row of `case_file` with its machine columns."""
    known = words()
    rows = connection.execute(
        select(finding.c.sku, finding.c.product_line, finding.c.region_code)
        .join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
        .where(case_finding.c.number == case.number, case_finding.c.support.is_(False))
    ).all()
    approved = (decision.c.number == case.number) & (decision.c.verdict == "approved") & (decision.c.kind != "reopen")
    proposed = connection.execute(select(decision.c.proposal).where(approved).limit(1)).first() is not None
    outcome = known["outcomes"].get(str(case.outcome), {})
    return str(known[kind][language]).format(
        number=case.number,
        date=today.isoformat(),
        partner=partner_name(connection, case.subject_id),
        family=known["families"][case.family][language],
        products=_listed({row.sku or row.product_line for row in rows}, language),
        regions=_listed({region_name(connection, row.region_code, language) for row in rows}, language),
        start=case.window_start.date().isoformat(),
        end=case.window_end.date().isoformat(),
        findings=len(rows),
        due=due.isoformat() if due else "",
        reasons=("、" if language == "zh" else "; ").join(known["reasons"][reason][language] for reason in REASONS),
        outcome=outcome.get(language, case.outcome or ""),
        cutoff=case.decision_cutoff.date().isoformat() if case.decision_cutoff else "",
        answers=answers_of(connection, case.number),
        how=known["how"]["proposed" if proposed else "direct"][language],
        appeal_days=appeal_days,
    )


def _listed(values: set[Any], language: str) -> str:
    named = sorted(str(value) for value in values if value)
    joined = ("、" if language == "zh" else ", ").join(named[:MOST])
    more = len(named) - MOST
    if more > 0:
        joined += f" 等 {len(named)} 项" if language == "zh" else f" and {more} more"
    return joined or "–"


def region_name(connection: Connection, code: str | None, language: str) -> str | None:
    """Its name with its code, where the master data have one."""
    table = MASTER_TABLES["regions"]
    query = select(table.c[f"name_{language}"]).where(table.c.region_code == code)
    name = connection.execute(query.order_by(table.c.recorded_at.desc().nulls_last()).limit(1)).scalar()
    return f"{name} ({code})" if name else code


def partner_name(connection: Connection, partner_id: str) -> str:
    table = MASTER_TABLES["partners"]
    query = select(table.c.name).where(table.c.partner_id == partner_id)
    name = connection.execute(query.order_by(table.c.recorded_at.desc().nulls_last()).limit(1)).scalar()
    return str(name or partner_id)
