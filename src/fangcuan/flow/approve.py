"""Which units may file: those whose very text was approved. Shipped content is approved by `init`, anything else by a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fangcuan.cases.policies import approvals
from fangcuan.cases.refusals import GuardFailed
from fangcuan.content.roots import files, shipped_root
from fangcuan.core.canonical import canonical_json
from fangcuan.detect.detectors import all_units, unit_text
from fangcuan.detect.units import AnyUnit
from fangcuan.flow.accounts import acting
from fangcuan.flow.installation import Installation


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
    return [unit.id for unit in fresh if approvals.approve_shipped(installation.engine, **_version(unit))]


def _private() -> set[str]:
    """Ids of the rules, and names of the detectors, that lie in overlays."""
    shipped = shipped_root()
    rules = {f"{path.parent.name}.{path.stem}" for root, path in files("rules", "*/*.yml") if root != shipped}
    return rules | {path.parent.name for root, path in files("detectors", "*/detector.yml") if root != shipped}


def propose_unit(installation: Installation, unit_id: str, *, actor: str | None = None) -> tuple[AnyUnit, bool]:
    """Propose a unit as it stands now; the unit, and whether this text is new. Raises CommandRefused."""
    unit = _unit(unit_id)
    return unit, approvals.propose(installation.engine, acting(installation, actor), **_version(unit))


def approve_unit(installation: Installation, unit_id: str, *, actor: str | None = None) -> tuple[AnyUnit, bool]:
    """Approve a unit as it stands now, which somebody else proposed; the unit, and whether it was not approved before.

    Raises CommandRefused, also where the text was changed after it was proposed.
    """
    unit = _unit(unit_id)
    return unit, approvals.approve(installation.engine, acting(installation, actor), unit_digest=unit.digest)


def _unit(unit_id: str) -> AnyUnit:
    units = all_units()
    if unit_id not in units:
        raise GuardFailed(f"no unit {unit_id!r}; `fangcuan rules list` shows them")
    return units[unit_id]


def _version(unit: AnyUnit) -> dict[str, Any]:
    """Text and parameters of a unit as they are recorded under its digest."""
    text = canonical_json({"text": unit_text(unit.id), "parameters": unit.parameters}).decode()
    return {"unit_id": unit.id, "unit_digest": unit.digest, "text": text, "status": unit.rule.status}


def approved_digests(installation: Installation) -> frozenset[str]:
    return approvals.approved(installation.engine)


def shadow_units(installation: Installation, units: Mapping[str, AnyUnit]) -> frozenset[str]:
    """Units that compute and file nothing: status shadow, or active with a text nobody approved."""
    approved = approved_digests(installation)
    return frozenset(key for key, unit in units.items() if unit.rule.status == "shadow" or unit.digest not in approved)
