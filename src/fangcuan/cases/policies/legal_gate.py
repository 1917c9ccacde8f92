"""What may be done about a case under the law where it happened: default-deny, by rows that two people agreed on.

Product behaviour, not legal advice. Observing is what every case does and is allowed where no row denies it; whatever else no
row allows is denied, and everything else where the jurisdiction is not known.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from fangcuan.cases.people.areas import PARTNER, chain_of, partner_region
from fangcuan.cases.policies.jurisdictions import of_chain, of_code
from fangcuan.cases.policies.notices import notices
from fangcuan.cases.policies.versions import in_force
from fangcuan.cases.refusals import GuardFailed
from fangcuan.core.canonical import plain
from fangcuan.core.masters import MASTERS
from fangcuan.store.casework import case_finding, finding
from fangcuan.store.masters import MASTER_TABLES
from fangcuan.store.policies import CASEBOOK, JURISDICTION

RELATION, POLICIES, PRICE = "legal_gate", "price_policies", "price"
OBSERVE, NOTIFY = "observe", "notify"
ACTIONS = MASTERS[RELATION]["action"].values


@dataclass(frozen=True)
class GateRow:
    """One row of the gate as it was in force. `row_digest` is None for what no row says: observing."""

    jurisdiction: str | None
    family: str
    action: str
    allowed: bool
    legal_basis: str | None = None
    template: str | None = None
    approved_by: str | None = None
    approved_at: dt.datetime | None = None
    valid_from: dt.date | None = None
    row_digest: str | None = None

    @property
    def name(self) -> str:
        """`CN|price|notify`, as people look it up."""
        return f"{self.jurisdiction or '?'}|{self.family}|{self.action}"


class Blocked(GuardFailed):
    """The legal gate does not allow an action; `row` is the one that denies it, None where none allows it."""

    def __init__(self, message: str, jurisdiction: str | None, family: str, action: str, row: GateRow | None):
        super().__init__(message)
        self.jurisdiction, self.family, self.action, self.row = jurisdiction, family, action, row


def jurisdiction_of(connection: Connection, case_row: Row[Any], day: dt.date) -> str | None:
    """Where a case happens (`CN`, `EU`, `UK`, `US`, …), None where that is not known or there are several.

    A price case: as the price policies that its findings rest on say. Else the country of the regions its findings name and of
    the partner it is about; else the setting `jurisdiction`.
    """
    found = _stated(connection, case_row) if case_row.family == PRICE else set()
    if not found:
        found = {of_chain(chain_of(connection, code)) for code in sorted(_regions(connection, case_row))}
        # A region of which no country is known says nothing, unless another says something.
        found = set() if found == {None} else found
    if found:
        return found.pop() if len(found) == 1 else None
    default = connection.get_execution_options().get(JURISDICTION)
    return of_code(str(default)) if default else None


def permitted(
    connection: Connection, case_row: Row[Any], action: str, day: dt.date, known_at: dt.datetime | None = None
) -> GateRow:
    """The row that allows an action about a case on a day, as known at a moment. Raises Blocked, which names what blocks it."""
    where = jurisdiction_of(connection, case_row, day)
    row = _row(_rows(connection, day, known_at), where, case_row.family, action)
    if row is not None and row.allowed:
        return row
    message = _words(case_row.number, where, case_row.family, action, row)["en"]
    raise Blocked(f"{action}: {message}", where, case_row.family, action, row)


def allowed_actions(connection: Connection, case_row: Row[Any], day: dt.date) -> list[dict[str, Any]]:
    """Every action with whether it is allowed, by which row, and why, in English and Chinese."""
    where, rows = jurisdiction_of(connection, case_row, day), _rows(connection, day, None)
    items = []
    for action in ACTIONS:
        row = _row(rows, where, case_row.family, action)
        items.append(
            {
                "action": action,
                "allowed": row is not None and row.allowed,
                "jurisdiction": where,
                "family": case_row.family,
                "row": row.name if row is not None and row.row_digest is not None else None,
                "template": row.template if row is not None else None,
                "legal_basis": row.legal_basis if row is not None else None,
                "approved_by": row.approved_by if row is not None else None,
                "approved_at": plain(row.approved_at) if row is not None else None,
                "why": _words(case_row.number, where, case_row.family, action, row),
            }
        )
    return items


def notice_for(connection: Connection, case_row: Row[Any], day: dt.date) -> dict[str, Any]:
    """The notice that may be sent about a case: `template` and its text in English and Chinese. Raises Blocked, or GuardFailed
    where the gate prescribes no text, or the case names no policy."""
    row = permitted(connection, case_row, NOTIFY, day)
    if row.template is None:
        raise GuardFailed(f"{case_row.number}: {row.name} prescribes no text; write the notice yourself")
    try:
        text = notices()[row.template].render(
            number=case_row.number, date=day, policies=sorted(_policies(connection, case_row))
        )
    except ValueError as error:
        raise GuardFailed(f"{case_row.number}: {error}") from error
    return {"number": case_row.number, "template": row.template, "jurisdiction": row.jurisdiction, "text": text}


def _rows(connection: Connection, day: dt.date, known_at: dt.datetime | None) -> list[dict[str, Any]]:
    # Only what was approved in the casebook counts, whatever else somebody wrote into the table.
    return [row for row in in_force(connection, RELATION, day, known_at) if row["source_id"] == CASEBOOK]


def _row(rows: Iterable[Mapping[str, Any]], where: str | None, family: str, action: str) -> GateRow | None:
    """What the gate says: of versions that overlap the one that began last; observing where no row says anything."""
    wanted = (where, family, action)
    fitting = [row for row in rows if (row["jurisdiction"], row["family"], row["action"]) == wanted]
    if not fitting:
        return GateRow(where, family, action, True) if action == OBSERVE else None
    row = max(fitting, key=lambda one: (one["valid_from"] or dt.date.min, not one["allowed"]))
    names = ("legal_basis", "template", "approved_by", "approved_at", "valid_from", "row_digest")
    return GateRow(where, family, action, row["allowed"], **{name: row[name] for name in names})


def _words(number: str, where: str | None, family: str, action: str, row: GateRow | None) -> dict[str, str]:
    if row is not None and row.row_digest is None:
        return {"en": "allowed: every case may be observed", "zh": "允许：任何案件均可观察记录"}
    if row is not None:
        approved = f"{row.approved_by}, {plain(row.approved_at)[:10] if row.approved_at else '–'}"
        if row.allowed:
            by_en = f", only in the words of {row.template}" if row.template else ""
            by_zh = f"，且只能使用 {row.template} 的文本" if row.template else ""
            return {
                "en": f"allowed by row {row.name} (approved by {approved}){by_en}; basis: {row.legal_basis}",
                "zh": f"依据条目 {row.name} 允许（批准人：{approved}）{by_zh}；依据：{row.legal_basis}",
            }
        return {
            "en": f"blocked by row {row.name} of the legal gate (approved by {approved}); basis: {row.legal_basis}; "
            f"to change it, one of legal or a supervisor proposes another row and someone else of legal approves it: "
            "`fangcuan policies propose legal_gate FILE`",
            "zh": f"被法律关卡条目 {row.name} 阻止（批准人：{approved}）；依据：{row.legal_basis}；"
            "如需变更，由法务或主管提出新条目、另一名法务批准：`fangcuan policies propose legal_gate FILE`",
        }
    if where is None:
        return {
            "en": f"blocked: under which law {number} falls is not known, or there are several; give its regions a country "
            "above them, or name `jurisdiction` in fangcuan.toml",
            "zh": f"被阻止：{number} 适用的法域未知，或涉及多个法域；请在区域主数据中补上国家，"
            "或在 fangcuan.toml 中设置 `jurisdiction`",
        }
    return {
        "en": f"blocked: no row of the legal gate allows {where}|{family}|{action}, and what is not allowed is denied; "
        "`fangcuan policies propose legal_gate FILE` proposes one",
        "zh": f"被阻止：法律关卡没有允许 {where}|{family}|{action} 的条目，未经允许即禁止；"
        "可用 `fangcuan policies propose legal_gate FILE` 提出",
    }


def _of_case(case_row: Row[Any], *columns: Any) -> Any:
    joined = select(*columns).join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
    return joined.where(case_finding.c.number == case_row.number)


def _policy_keys(connection: Connection, case_row: Row[Any]) -> list[str]:
    """Business keys of the price policies that the findings of a case rest on."""
    found = connection.execute(_of_case(case_row, finding.c.evidence)).scalars()
    return sorted({ref["key"] for refs in found for ref in refs if ref["relation"] == POLICIES})


def _of_policies(connection: Connection, case_row: Row[Any], column: str) -> set[str]:
    table, keys = MASTER_TABLES[POLICIES], _policy_keys(connection, case_row)
    values: set[str] = set()
    for start in range(0, len(keys), 500):
        part = table.c.business_key.in_(keys[start : start + 500])
        values.update(connection.execute(select(table.c[column]).where(part).distinct()).scalars())
    return values


def _stated(connection: Connection, case_row: Row[Any]) -> set[str | None]:
    return {of_code(value.strip().upper()) for value in _of_policies(connection, case_row, "jurisdiction")}


def _policies(connection: Connection, case_row: Row[Any]) -> set[str]:
    return _of_policies(connection, case_row, "policy_id")


def _regions(connection: Connection, case_row: Row[Any]) -> set[str]:
    codes = set(connection.execute(_of_case(case_row, finding.c.region_code).distinct()).scalars())
    if case_row.subject_kind == PARTNER:
        codes.add(partner_region(connection, case_row.subject_id))
    return {code for code in codes if code}
