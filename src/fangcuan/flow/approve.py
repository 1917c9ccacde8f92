"""Which units may file: those whose very text was approved. Shipped content is approved by `init`, anything else by a person."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from fangcuan.cases.approvals import approve, propose
from fangcuan.content.roots import files, shipped_root
from fangcuan.core.canonical import canonical_json
from fangcuan.detect.detectors import all_units, unit_text
from fangcuan.detect.units import AnyUnit
from fangcuan.flow.installation import Installation
from fangcuan.store.casework import rule_version
from fangcuan.store.database import read

#: Who stands behind content that came with the package, before a team says otherwise.
SHIPPER, DEFAULT_APPROVER = "package:fangcuan", "system:embedded-default"


def approve_shipped(installation: Installation) -> list[str]:
    """Propose and approve every shipped unit as it is now; gives the ids of those that were not approved before.

    What lies in a folder of FANGCUAN_CONTENT did not come with the package and waits for a person.
    """
    approved = approved_digests(installation)
    private = _private()
    fresh = [
        unit
        for unit in all_units().values()
        if unit.digest not in approved and not private & {unit.id, unit.id.split(".", 1)[1]}
    ]
    for unit in fresh:
        approve_unit(installation, unit, proposed_by=SHIPPER, approved_by=DEFAULT_APPROVER)
    return [unit.id for unit in fresh]


def _private() -> set[str]:
    """Ids of the rules, and names of the detectors, that lie in overlays."""
    shipped = shipped_root()
    rules = {f"{path.parent.name}.{path.stem}" for root, path in files("rules", "*/*.yml") if root != shipped}
    return rules | {path.parent.name for root, path in files("detectors", "*/detector.yml") if root != shipped}


def approve_unit(installation: Installation, unit: AnyUnit, *, proposed_by: str, approved_by: str) -> None:
    """Record a unit's text and parameters under its digest, proposed and approved by different people."""
    proposed = canonical_json({"text": unit_text(unit.id), "parameters": unit.parameters}).decode()
    propose(
        installation.engine,
        unit_id=unit.id,
        unit_digest=unit.digest,
        text=proposed,
        status=unit.rule.status,
        proposed_by=proposed_by,
    )
    approve(installation.engine, unit_digest=unit.digest, approved_by=approved_by)


def approved_digests(installation: Installation) -> frozenset[str]:
    with read(installation.engine) as connection:
        statement = select(rule_version.c.unit_digest).where(rule_version.c.approved_by.is_not(None))
        return frozenset(connection.execute(statement).scalars())


def shadow_units(installation: Installation, units: Mapping[str, AnyUnit]) -> frozenset[str]:
    """Units that compute and file nothing: status shadow, or active with a text nobody approved."""
    approved = approved_digests(installation)
    return frozenset(key for key, unit in units.items() if unit.rule.status == "shadow" or unit.digest not in approved)
