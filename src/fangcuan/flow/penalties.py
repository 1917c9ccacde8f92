"""Penalties with what the installation has: codes counted from the evidence, letters put into the store, then the command."""

from __future__ import annotations

import datetime as dt
import json
import secrets
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, select

from fangcuan.cases import workflow
from fangcuan.cases.evidence.store import EvidenceDamaged, EvidenceMissing
from fangcuan.cases.letters.correspondence import LANGUAGES, link_hash
from fangcuan.cases.penalties.computation import compute, latest_penalty, penalties_of
from fangcuan.cases.penalties.lines import Counted
from fangcuan.cases.penalties.victims import victims
from fangcuan.cases.penalties.wording import counted_words, occurrence_words, render_issue, render_review, told_lines
from fangcuan.cases.policies.legal_gate import notice_for, permitted
from fangcuan.cases.refusals import GuardFailed
from fangcuan.cases.workflow import Sanction
from fangcuan.core.canonical import decimal_text, sha256_hex
from fangcuan.flow.casework import act, case_row
from fangcuan.flow.installation import Installation
from fangcuan.store.casework import case_finding, finding
from fangcuan.store.database import read
from fangcuan.store.masters import MASTER_TABLES

#: Readings that show where a unit is, in trace events; a warehouse's and the partner's own show what was delivered.
READ_BY = frozenset({"consumer_scan", "field_inspection", "test_purchase"})


def computed(installation: Installation, number: str) -> dict[str, Any]:
    """What the contract asks for, line by line, and in words: nothing is proposed. Raises CommandRefused."""
    with read(installation.engine) as connection:
        case = case_row(connection, number)
        units = counted(installation, connection, number)
        found = compute(connection, case, workflow.default(), dt.datetime.now(dt.UTC), units)
        return {**found, "words": _words(connection, found)}


def shown(installation: Installation, number: str) -> list[dict[str, Any]]:
    """Penalties of a case with their lines in words, and the name of their status. Raises UnknownCase."""
    statuses = workflow.default().penalty_statuses
    with read(installation.engine) as connection:
        case_row(connection, number)
        return [
            {
                **each,
                "label": statuses[each["status"]].label.model_dump(),
                "words": _words(connection, each["computation"]),
            }
            for each in penalties_of(connection, number)
        ]


def _words(connection: Connection, computation: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        language: [
            *told_lines(computation, language),
            counted_words(connection, computation, language),
            occurrence_words(computation, language),
        ]
        for language in LANGUAGES
    }


def propose_penalty(
    installation: Installation, number: str, *, note: str, actor: str | None = None, role: str | None = None
) -> dict[str, Any]:
    """Propose the penalty that `computed` shows. Raises CommandRefused, with the row of the legal gate where that blocks it."""
    with read(installation.engine) as connection:
        units = counted(installation, connection, number)
    given = {"kind": _making(), "note": note}
    rows = [{**vars(one), "units": decimal_text(one.units)} for one in units]
    return act(
        installation, workflow.PROPOSE, number, actor=actor, role=role, params={**given, "counted": rows or None}
    )


def issue(
    installation: Installation, number: str, *, language: str = "zh", actor: str | None = None, role: str | None = None
) -> dict[str, Any]:
    """Send the penalty out: `text` and `link` are for the partner, the link is shown this once. Raises CommandRefused."""
    order = _sanction("issue")
    today = dt.datetime.now(installation.settings.zone).date()
    # The day on which it can still be appealed against is whole.
    until = today + dt.timedelta(days=order.days + 1)
    ends = dt.datetime.combine(until + dt.timedelta(days=1), dt.time(), installation.settings.zone)
    with read(installation.engine) as connection:
        case, row = case_row(connection, number), _penalty(connection, number)
        text = _prescribed(connection, case, order, today, language)
        text = text or render_issue(connection, case, row, language, today=today, until=until)
    link_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    given = {"language": language, "sha256": installation.evidence.put(text.encode())}
    given |= {"link_id": link_id, "link_hash": link_hash(secret), "appeal_until": ends.isoformat()}
    done = act(installation, order.command, number, actor=actor, role=role, params=given)
    return {**done, "text": text, "link": f"{link_id}_{secret}", "appeal_until": until.isoformat()}


def tell(
    installation: Installation, number: str, *, language: str = "zh", actor: str | None = None, role: str | None = None
) -> dict[str, Any]:
    """The letter that tells the partner what became of his penalty; its text stays with the case. Raises CommandRefused."""
    order = _sanction("tell")
    today = dt.datetime.now(installation.settings.zone).date()
    with read(installation.engine) as connection:
        case, row = case_row(connection, number), _penalty(connection, number)
        text = _prescribed(connection, case, order, today, language)
        text = text or render_review(connection, case, row, workflow.default(), language, today=today)
    given = {"language": language, "sha256": installation.evidence.put(text.encode())}
    return {**act(installation, order.command, number, actor=actor, role=role, params=given), "text": text}


def lost(installation: Installation, number: str) -> dict[str, Any]:
    """Who lost by what a case is about, and how much of it can be said. Raises UnknownCase."""
    with read(installation.engine) as connection:
        case = case_row(connection, number)
        units = counted(installation, connection, number)
        return victims(connection, case, dt.datetime.now(dt.UTC), units)


def counted(installation: Installation, connection: Connection, number: str) -> list[Counted]:
    """Units that the findings of a case rest on by their codes, each code once; empty where a finding counts no codes.

    A code that findings name in several regions counts in the first of these. Raises GuardFailed where evidence is lost.
    """
    query = (
        select(finding.c.region_code, finding.c.product_line, finding.c.evidence_sha256)
        .join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
        .where(case_finding.c.number == number, case_finding.c.support.is_(False))
        .order_by(finding.c.region_code, finding.c.finding_id)
    )
    seen: dict[tuple[str | None, str, str | None], set[str]] = {}
    taken: set[str] = set()
    for row in connection.execute(query).all():
        codes = dict(_codes(installation, row.evidence_sha256, number))
        if not codes:
            return []
        for code, sku in codes.items():
            if code not in taken:
                taken.add(code)
                seen.setdefault((row.region_code, sku, row.product_line), set()).add(code)
    lines = _lines(connection, {sku for _, sku, _ in seen})
    return [
        Counted(
            region,
            sku,
            lines.get(sku) or product_line,
            Decimal(len(codes)),
            sha256_hex("\n".join(sorted(codes)).encode()),
        )
        for (region, sku, product_line), codes in sorted(seen.items(), key=lambda item: tuple(map(str, item[0])))
    ]


def _codes(installation: Installation, sha256: str, number: str) -> Iterator[tuple[str, str]]:
    """Codes and products that an evidence artefact shows to have been seen."""
    try:
        rows: list[Mapping[str, Any]] = json.loads(installation.evidence.get(sha256))["snapshot"].get("rows", [])
    except (EvidenceMissing, EvidenceDamaged) as error:
        raise GuardFailed(f"{number}: units cannot be counted: {error}; run `fangcuan audit scrub`") from error
    for each in rows:
        row = each["row"]
        read_outside = each["relation"] == "inspections" or (
            each["relation"] == "trace_events" and row.get("observer") in READ_BY
        )
        if read_outside and row.get("epc") and row.get("sku"):
            yield str(row["epc"]), str(row["sku"])


def _lines(connection: Connection, skus: set[str]) -> dict[str, str]:
    """Product line of each product, as the master data say now."""
    table = MASTER_TABLES["products"]
    query = select(table.c.sku, table.c.product_line).where(table.c.sku.in_(sorted(skus)))
    return {row.sku: row.product_line for row in connection.execute(query.order_by(table.c.recorded_at.nulls_first()))}


def _prescribed(connection: Connection, case: Row[Any], order: Sanction, today: dt.date, language: str) -> str | None:
    """The words that the legal gate prescribes, or None where it leaves them open. Raises Blocked."""
    if language not in LANGUAGES:
        raise GuardFailed(f"{order.command}: language {language!r}; expected {' or '.join(LANGUAGES)}")
    if permitted(connection, case, str(order.action), today).template is None:
        return None
    return str(notice_for(connection, case, today)["text"][language])


def _sanction(does: str) -> Sanction:
    return next(each for each in workflow.default().sanctions if each.does == does)


def _making() -> str:
    """The kind of proposal that makes a penalty."""
    proposals = workflow.default().proposals
    return next(each.kind for each in proposals if each.penalty is not None and not each.penalty.from_)


def _penalty(connection: Connection, number: str) -> Row[Any]:
    row = latest_penalty(connection, number)
    if row is None:
        raise GuardFailed(
            f"{number} has no penalty; `fangcuan penalties propose {number}` proposes the one of the contract"
        )
    return row
