"""Commands of people on cases, through the one executor."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fangcuan.cases.executor import Actor, Command, execute
from fangcuan.flow.installation import Installation


def act(
    installation: Installation,
    command: str,
    number: str,
    *,
    actor: str,
    role: str = "analyst",
    params: dict[str, Any] | None = None,
    key: str | None = None,
) -> dict[str, Any]:
    """Carry out one command as `user:<actor>` in one role. Raises CommandRefused; then nothing has changed.

    Whoever holds the casebook file decides who they are: accounts come with the workbench, the chain records what was said.
    """
    result = execute(
        installation.engine,
        Command(
            name=command,
            case=number,
            actor=Actor(f"user:{actor}", frozenset({role})),
            key=key or uuid4().hex,
            params={name: value for name, value in (params or {}).items() if value is not None},
        ),
    )
    return {"number": result.case, "status": result.status, "version": result.version, "seq": result.seq}
