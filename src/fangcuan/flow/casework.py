"""Commands of people on cases, through the one executor."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fangcuan.cases.executor import Command, claim_next, execute
from fangcuan.flow.accounts import acting
from fangcuan.flow.installation import Installation


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
    result = execute(
        installation.engine,
        Command(
            name=command,
            case=number,
            actor=acting(installation, actor, role=role),
            key=key or uuid4().hex,
            params={name: value for name, value in (params or {}).items() if value is not None},
        ),
    )
    return {"number": result.case, "status": result.status, "version": result.version, "seq": result.seq}


def next_case(
    installation: Installation, *, actor: str | None = None, role: str | None = None, key: str | None = None
) -> dict[str, Any] | None:
    """Claim the most urgent case that is nobody's and within reach; None where there is none. Raises CommandRefused."""
    result = claim_next(installation.engine, acting(installation, actor, role=role), key or uuid4().hex)
    if result is None:
        return None
    return {"number": result.case, "status": result.status, "version": result.version, "seq": result.seq}
