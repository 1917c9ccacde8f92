"""Commands of people on cases, through the one executor."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, select

from fangcuan.cases.executor import Command, claim_next, execute
from fangcuan.cases.policies.legal_gate import allowed_actions, notice_for
from fangcuan.cases.refusals import GuardFailed, UnknownCase
from fangcuan.flow.accounts import acting
from fangcuan.flow.installation import Installation
from fangcuan.store.casework import case_file, case_machine
from fangcuan.store.database import read


def act(
    installation: Installation,
    command: str,
    number: str,
    *,
    actor: str | None = None,
    role: str | None = None,
    params: dict[str, Any] | None = None,
    key: str | None = None,
) -> dict[str, Any]:
    """Carry out one command as `actor`, else as whom the environment or the operating system names.

    `role` narrows him to one of his roles. Raises CommandRefused; then nothing has changed.
    """
    given = {name: value for name, value in (params or {}).items() if value is not None}
    if "until" in given:
        given["until"] = _moment(installation, str(given["until"]))
    result = execute(
        installation.engine,
        Command(
            name=command,
            case=number,
            actor=acting(installation, actor, role=role),
            key=key or uuid4().hex,
            params=given,
        ),
    )
    return {"number": result.case, "status": result.status, "version": result.version, "seq": result.seq}


def attach_file(
    installation: Installation,
    number: str,
    file: Path,
    *,
    actor: str | None = None,
    role: str | None = None,
    params: dict[str, Any],
    key: str | None = None,
) -> dict[str, Any]:
    """Put a file into the evidence store and beside a case. Raises CommandRefused, also for a file that cannot be read.

    The file is stored first: a case never names what is not there. Refused, it stays in the store and belongs to no case.
    """
    try:
        with file.open("rb") as opened:
            sha256 = installation.evidence.put(iter(lambda: opened.read(1 << 20), b""))
    except OSError as error:
        raise GuardFailed(f"attach: {file} cannot be read: {error.strerror or error}") from error
    given = {**params, "name": params.get("name") or file.name, "sha256": sha256}
    return {**act(installation, "attach", number, actor=actor, role=role, params=given, key=key), "sha256": sha256}


def _moment(installation: Installation, text: str) -> str:
    """A day is its beginning in the brand's time zone; what is none is left for the command to refuse."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return text
    return (moment if moment.tzinfo else moment.replace(tzinfo=installation.settings.zone)).isoformat()


def next_case(
    installation: Installation, *, actor: str | None = None, role: str | None = None, key: str | None = None
) -> dict[str, Any] | None:
    """Claim the most urgent case that is nobody's and within reach; None where there is none. Raises CommandRefused."""
    result = claim_next(installation.engine, acting(installation, actor, role=role), key or uuid4().hex)
    if result is None:
        return None
    return {"number": result.case, "status": result.status, "version": result.version, "seq": result.seq}


def gate(installation: Installation, number: str) -> list[dict[str, Any]]:
    """What the legal gate allows about a case today, in the brand's time zone. Raises UnknownCase."""
    with read(installation.engine) as connection:
        return allowed_actions(connection, case_row(connection, number), _today(installation))


def notice(installation: Installation, number: str) -> dict[str, Any]:
    """The notice that may go out about a case today. Raises UnknownCase, Blocked, GuardFailed where no text is prescribed."""
    with read(installation.engine) as connection:
        return notice_for(connection, case_row(connection, number), _today(installation))


def case_row(connection: Connection, number: str) -> Row[Any]:
    """A row of `case_file` with its machine columns `window_start`, `window_end` and `evidence_root`. Raises UnknownCase."""
    machine = (case_machine.c.window_start, case_machine.c.window_end, case_machine.c.evidence_root)
    joined = select(case_file, *machine).join(case_machine, case_machine.c.number == case_file.c.number)
    row = connection.execute(joined.where(case_file.c.number == number)).one_or_none()
    if row is None:
        raise UnknownCase(f"{number}: no such case")
    return row


def _today(installation: Installation) -> dt.date:
    return dt.datetime.now(installation.settings.zone).date()
