"""Small worlds, made once for all tests of the bench."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from fangcuan.quality.spec import family
from fangcuan.quality.worlds import World

Worlds = Callable[..., World]


@cache
def _world(name: str, changes: tuple[tuple[str, Any], ...]) -> World:
    return World(family(name, **{"dealers": 500, **dict(changes)}))


@pytest.fixture(scope="session")
def worlds() -> Worlds:
    """`worlds("mixed", coverage=0.05)`: a world of that family with 500 dealers."""
    return lambda name, **changes: _world(name, tuple(sorted(changes.items())))
