"""Named places at which a test may kill the process, to prove that the next run repairs what the killed one left.

`FANGCUAN_FAILPOINT=name` kills at the first visit of `name`, `name:3` at the third. Unset, a visit costs one
comparison.
"""

from __future__ import annotations

import os
import signal

_visits = 0


def _parse(value: str) -> tuple[str, int] | None:
    name, _, nth = value.partition(":")
    return (name, int(nth) if nth else 1) if name else None


_armed = _parse(os.environ.get("FANGCUAN_FAILPOINT", ""))


def hit(name: str) -> None:
    """Visit the failpoint `name`: SIGKILL to the own process if that is the visit asked for, nothing otherwise."""
    if _armed is None or _armed[0] != name:
        return
    global _visits
    _visits += 1
    if _visits == _armed[1]:
        os.kill(os.getpid(), signal.SIGKILL)
