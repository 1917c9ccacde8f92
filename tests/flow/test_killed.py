"""Kill -9 at named places and at random times, then run again: nothing lost, nothing twice."""

from __future__ import annotations

import multiprocessing
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest

from fangcuan.flow.approve import approve_shipped
from fangcuan.flow.installation import initialise

pytestmark = pytest.mark.timeout(1800)

FAILPOINTS = (
    "pull.after_stage",
    "load.between_chunks",
    "load.master_before_commit",
    "load.between_files",
    "load.after_files",
    "load.before_commit",
    "load.after_commit",
    "night.after_manifest",
    "night.after_open",
    "detect.between_files",
    "detect.before_result",
    "file.evidence_stored",
    "file.before_commit",
    "file.after_commit",
    "file.before_judged",
)

ROOT = Path(__file__).parents[2]


def test_no_failpoint_is_left_out() -> None:
    """A name that the source has and no test kills at would prove nothing."""
    named = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r"""\bhit\("([a-z_.]+)"\)""", path.read_text(encoding="utf-8"))
    }
    others = ("cases/test_faults.py", "flow/test_notifying.py", "flow/test_export.py")
    texts = "".join((ROOT / "tests" / name).read_text(encoding="utf-8") for name in others)
    elsewhere = {name for name in named if f'"{name}"' in texts}
    assert len(named) >= len(FAILPOINTS)
    assert set(FAILPOINTS) | elsewhere == named


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, small_world: Path, flow_tools: dict[str, Any]
) -> dict[str, Any]:
    """What the nights come to, the same on either database, and how long they take."""
    home = initialise(tmp_path_factory.mktemp("undisturbed") / "home", memory_limit="1GB")
    approve_shipped(home)
    home.engine.dispose()
    started = time.monotonic()
    assert flow_tools["judge_in_process"](home.settings.home, small_world) == 0
    seconds = time.monotonic() - started
    return {"state": flow_tools["state"](home), "seconds": seconds}


@pytest.mark.parametrize(("visit", "reached"), [(1, 10), pytest.param(3, 9, marks=pytest.mark.slow)])
def test_killed_at_every_failpoint_and_run_again(
    new_home: Any, small_world: Path, flow_tools: dict[str, Any], undisturbed: dict[str, Any], visit: int, reached: int
) -> None:
    home, killed = None, []
    for name in FAILPOINTS:
        # Each kill hits the run that the one before left behind; a place not visited so often lets the run come to its end.
        home = home or new_home(f"killed-{name}")
        code = flow_tools["judge_in_process"](home.settings.home, small_world, failpoint=f"{name}:{visit}")
        if code == -9:
            killed.append(name)
        else:
            assert code == 0
            assert flow_tools["state"](home) == undisturbed["state"]
            home = None
    if home is not None:
        assert flow_tools["judge_in_process"](home.settings.home, small_world) == 0
        assert flow_tools["state"](home) == undisturbed["state"]
    assert len(killed) >= reached, f"only {killed} were reached"


def _killed_at_random(tools: dict[str, Any], home: Any, world: Path, seconds: float, times: int, seed: int) -> int:
    moments = random.Random(seed)
    killed = 0
    for _ in range(times):
        killed += tools["judge_in_process"](home.settings.home, world, kill_after=moments.uniform(0.05, seconds)) == -9
    assert tools["judge_in_process"](home.settings.home, world) == 0
    return killed


def test_killed_at_random_times(
    new_home: Any, small_world: Path, flow_tools: dict[str, Any], undisturbed: dict[str, Any]
) -> None:
    home = new_home("killed")
    killed = _killed_at_random(flow_tools, home, small_world, undisturbed["seconds"] / 2, 4, seed=11)
    assert killed >= 2
    assert flow_tools["state"](home) == undisturbed["state"]


@pytest.mark.slow
def test_killed_at_twenty_random_times(
    new_home: Any, small_world: Path, flow_tools: dict[str, Any], undisturbed: dict[str, Any]
) -> None:
    home = new_home("killed")
    _killed_at_random(flow_tools, home, small_world, undisturbed["seconds"] / 6, 20, seed=23)
    assert flow_tools["state"](home) == undisturbed["state"]


def test_the_same_nights_twice_at_once(
    new_home: Any, small_world: Path, flow_tools: dict[str, Any], undisturbed: dict[str, Any]
) -> None:
    home = new_home("twice")
    home.engine.dispose()
    context = multiprocessing.get_context("fork")
    run = flow_tools["judge_in_process"]
    with context.Pool(2, maxtasksperchild=1) as pool:
        codes = pool.starmap(_in_pool, [(run, home.settings.home, small_world)] * 2)
    assert codes == [None, None]
    assert flow_tools["state"](home) == undisturbed["state"]


def _in_pool(_run: Any, home: Path, world: Path) -> None:
    import datetime as dt

    from fangcuan.flow.installation import open_installation
    from fangcuan.flow.nightly import judge_nights

    first = dt.date(2026, 3, 18)
    list(judge_nights(open_installation(home), first, first + dt.timedelta(days=3), world=world))
