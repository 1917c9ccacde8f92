"""Use cases: what DAGs, CLI and tests call. Arguments and results are plain JSON; what is heavy is imported when called."""

from __future__ import annotations

import datetime as dt
from typing import Any


class Retryable(Exception):
    """Trying again later may help: a source was down, a database was busy."""


def _installation() -> Any:
    from fangcuan.flow.installation import open_installation

    return open_installation()


def sources(schedule: str) -> list[str]:
    """Ids of the sources of one schedule group (`nightly`, `intraday`), in the order they are pulled."""
    from fangcuan.flow.configured import source_ids

    return source_ids(_installation(), schedule)


def pull(source_id: str, night: str) -> dict[str, Any]:
    """Pull one source for a night. Raises Retryable when the source could not be asked; that is recorded either way."""
    from fangcuan.flow.pulling import pull as pull_one

    result = pull_one(_installation(), source_id, dt.date.fromisoformat(night))
    if result["state"] == "unavailable":
        raise Retryable(f"{source_id}: {result['message']}")
    return result


def night_due(now_iso: str | None, requested: str | None) -> str:
    """The night to judge: the one requested, else the local date, in the brand's time zone, that ended last by `now_iso`.

    A cut-off at 03:00 of the 15th judges the night of the 14th.
    """
    from fangcuan.settings import load

    if requested:
        return dt.date.fromisoformat(requested).isoformat()
    zone = load().zone
    now = dt.datetime.fromisoformat(now_iso) if now_iso else dt.datetime.now(dt.UTC)
    return (now.astimezone(zone).date() - dt.timedelta(days=1)).isoformat()


def open_night(night: str) -> dict[str, Any]:
    """Open a night: {"run_id", "night", "state": "open" | "judged", "stages": [facts, units]}."""
    from fangcuan.flow.night import open_night as open_one

    return open_one(_installation(), dt.date.fromisoformat(night))


def check_lake(run_id: str) -> dict[str, Any]:
    """See that every lake file the run rests on is whole."""
    from fangcuan.flow.night import check_lake as check

    return check(_installation(), run_id)


def detect(run_id: str, unit_id: str) -> dict[str, Any]:
    """Run one unit of an open run."""
    from fangcuan.flow.night import detect as detect_one

    return detect_one(_installation(), run_id, unit_id)


def decide(run_id: str) -> dict[str, Any]:
    """Decide over all findings of a run: how many are filed, support a case, or are only kept."""
    from fangcuan.flow.filing import decide_run

    decisions = decide_run(_installation(), run_id)
    return {
        "run_id": run_id,
        "file": len(decisions.file),
        "support": len(decisions.support),
        "keep": len(decisions.keep),
        "wording": decisions.wording,
        "allowed_action": decisions.allowed_action,
    }


def file(run_id: str) -> dict[str, Any]:
    """File the run's findings as cases and close the night."""
    from fangcuan.flow.filing import file_run

    return file_run(_installation(), run_id)


def capture_findings(run_id: str) -> dict[str, Any]:
    """Capture listing pages behind the price cases of a run, where the settings ask for it; see `flow.capturing`."""
    from fangcuan.flow.capturing import capture_findings as capture

    return capture(_installation(), run_id)


def detectors() -> list[str]:
    """Ids of the detectors that learn."""
    from fangcuan.flow.training import detector_ids

    return detector_ids()


def train(detector_id: str, night: str | None = None) -> dict[str, Any]:
    """Fit one detector on what was known by a night (default: the last judged one); later nights use the model.

    {"detector_id", "state": "trained" | "kept" | "unchanged" | "refused", "message", "model_id", "trained_for", "rows", …}
    """
    from fangcuan.flow.training import train_detector

    return train_detector(_installation(), detector_id, dt.date.fromisoformat(night) if night else None)


def audit_verify() -> dict[str, Any]:
    """Verify history, checkpoints and tables: {"exit_code", "message", "events", "first_bad_seq", "problems", …}.

    Where it fails administrators and auditors are told; `told` says how that went.
    """
    from fangcuan.flow.audit import verify_installation
    from fangcuan.flow.notifying import alarm_of

    place = _installation()
    found = verify_installation(place)
    return {**found.as_record(), "told": alarm_of(place, found)}


def send_notifications() -> dict[str, Any]:
    """Send what the outbox holds: {"sent", "failed", "given_up", "left", "problems"}; what has become due is told first."""
    from fangcuan.flow.corresponding import overdue
    from fangcuan.flow.notifying import send_due

    place = _installation()
    overdue(place)
    return send_due(place)


def audit_checkpoint() -> dict[str, Any]:
    """Sign the history and bring it to the places of the settings: {"state", "message", "size", "root", "anchors"}.

    Without a signing key nothing is signed, and `message` says so. Raises Retryable where a place was not reached: what was
    signed stays, and trying again brings it there.
    """
    from fangcuan.flow.audit import make_checkpoint

    made = make_checkpoint(_installation())
    failed = [str(one["message"]) for one in made["anchors"] if one["state"] == "failed"]
    if failed:
        raise Retryable("; ".join(failed))
    return made


def scrub_evidence() -> dict[str, Any]:
    """Read every file of the evidence store, compare it with its name, and look for what cases name and is not there."""
    from fangcuan.flow.scrubbing import scrub

    problems = scrub(_installation())
    return {"problems": [problem.message for problem in problems]}


def tidy() -> dict[str, Any]:
    """Remove leftovers of killed runs that are a day old; `notifications_given_up` of the last days reached nobody."""
    from fangcuan.flow.housekeeping import tidy as tidy_one
    from fangcuan.flow.notifying import given_up

    place = _installation()
    return {**tidy_one(place), "notifications_given_up": given_up(place)}
