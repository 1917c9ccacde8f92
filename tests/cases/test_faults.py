"""A night killed anywhere and filed again, or filed twice at once, says the same as an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import casework_samples
import orders
import pytest
from casework_samples import BUSY_SETTINGS, busy_night, employ, file_night, make_finding
from sqlalchemy import Engine, func, select

from fangcuan.cases.evidence.store import EvidenceStore
from fangcuan.cases.executor import Actor, Command, execute
from fangcuan.cases.history import keys
from fangcuan.cases.history.digests import digests
from fangcuan.cases.history.verification import verify
from fangcuan.cases.views import list_cases
from fangcuan.store import migrations
from fangcuan.store.casework import checkpoint, event, finding_occurrence
from fangcuan.store.database import open_engine, read

FILING = (
    "file.evidence_stored",
    "file.findings_written",
    "file.cases_written",
    "file.before_commit",
    "file.after_commit",
)
CHECKPOINT = ("checkpoint.recorded", "checkpoint.before_commit")
COMMAND = ("command.case_updated", "command.before_commit", "command.after_commit")
NIGHT = "2026-03-14"

GIVE_COMMAND = """
import sys
from fangcuan.cases.executor import Actor, Command, execute
from fangcuan.store.database import open_engine
actor = Actor("user:x", frozenset({"supervisor"}))
print(execute(open_engine(sys.argv[1]), Command("triage", "FC-2026-000001", actor, "one-intention", 1)).seq)
"""


def start(url: str, folder: Path, night: str = NIGHT, failpoint: str = "") -> subprocess.Popen[str]:
    arguments = [sys.executable, casework_samples.__file__, url, str(folder), night]
    environment = {**os.environ, "FANGCUAN_FAILPOINT": failpoint}
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return dict(json.loads(output))


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[dict[str, Any], dict[str, str], int, list[str]]]:
    """Summary, digests, number of events and evidence of one quiet night."""
    folder = tmp_path_factory.mktemp("undisturbed")
    url = f"sqlite:///{folder / 'casebook.db'}"
    migrations.upgrade(url)
    summary = finish(start(url, folder / "evidence"))
    engine = open_engine(url)
    yield summary, digests(engine), verify(engine).events, list(EvidenceStore(folder / "evidence").digests())
    engine.dispose()


def test_the_busy_night_is_busy(undisturbed: Any) -> None:
    summary, _, events, evidence = undisturbed
    assert summary["cases_opened"] == 61
    assert (summary["storms"], summary["findings_waiting"]) == (1, 20)
    assert events > 100
    assert len(evidence) == summary["findings_new"] == 202


@pytest.mark.parametrize("failpoint", FILING)
def test_killed_at_a_failpoint_and_filed_again(
    engine: Engine, url: str, folder: Path, failpoint: str, undisturbed: Any
) -> None:
    summary, expected, events, evidence = undisturbed
    killed = start(url, folder, failpoint=failpoint)
    killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL, "the failpoint was not reached"
    found = verify(engine)
    assert found.exit_code == 0
    # All of the night or nothing of it.
    assert found.events == (events if failpoint == "file.after_commit" else 0)
    assert finish(start(url, folder)) == summary
    assert digests(engine) == expected
    assert verify(engine).events == events
    store = EvidenceStore(folder)
    assert list(store.digests()) == evidence
    assert store.scrub(evidence) == []


@pytest.mark.parametrize("attempt", range(2))
def test_killed_at_random_times_and_filed_again(
    engine: Engine, url: str, folder: Path, attempt: int, undisturbed: Any
) -> None:
    summary, expected, events, evidence = undisturbed
    chance = random.Random(attempt)
    for _ in range(3):
        process = start(url, folder)
        time.sleep(chance.uniform(0.2, 2.5))
        process.kill()
        process.communicate()
        assert verify(engine).exit_code == 0
    assert finish(start(url, folder)) == summary
    assert digests(engine) == expected
    assert verify(engine).events == events
    assert EvidenceStore(folder).scrub(evidence) == []


def test_two_processes_file_the_same_night(engine: Engine, url: str, folder: Path, undisturbed: Any) -> None:
    summary, expected, events, _ = undisturbed
    processes = [start(url, folder) for _ in range(3)]
    assert [finish(process) for process in processes] == [summary] * 3
    assert digests(engine) == expected
    assert verify(engine).events == events


def test_threads_file_the_same_night(engine: Engine, folder: Path) -> None:
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(file_night(engine, folder, busy_night(), unit_settings=BUSY_SETTINGS))
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [results[0]] * 4
    assert results[0].cases_opened == 61
    with read(engine) as connection:
        assert connection.execute(select(func.count()).select_from(finding_occurrence)).scalar_one() == 201
        filed = select(func.count()).select_from(event).where(event.c.body.like('%"kind":"night.filed"%'))
        assert connection.execute(filed).scalar_one() == 1


def test_filing_and_commands_at_once_do_not_lock_each_other_up(engine: Engine, folder: Path) -> None:
    import datetime as dt

    file_night(engine, folder, [make_finding(f"P{number:02d}") for number in range(20)])
    numbers = orders.undrawn(engine)
    failures: list[BaseException] = []
    actor = Actor("user:x", frozenset({"supervisor"}))
    employ(engine, actor)

    def commands() -> None:
        try:
            for number in numbers:
                execute(engine, Command("dismiss", number, actor, number, params={"reason": "low_impact"}))
        except BaseException as error:
            failures.append(error)

    def filings() -> None:
        try:
            for day in range(1, 8):
                findings = [make_finding(f"P{number:02d}", month=4) for number in range(20)]
                file_night(engine, folder, findings, casework_samples.FIRST + dt.timedelta(days=day))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=target) for target in (commands, filings)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert verify(engine).exit_code == 0
    for case in list_cases(engine):
        assert case["occurrences"] == 8


@pytest.mark.parametrize("failpoint", COMMAND)
def test_a_command_killed_and_given_again_is_carried_out_once(
    engine: Engine, url: str, folder: Path, failpoint: str
) -> None:
    file_night(engine, folder, [make_finding()])
    employ(engine, Actor("user:x", frozenset({"supervisor"})))
    before = verify(engine).events
    arguments = [sys.executable, "-c", GIVE_COMMAND, url]
    killed = subprocess.run(arguments, env={**os.environ, "FANGCUAN_FAILPOINT": failpoint}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert verify(engine).events == before + (failpoint == "command.after_commit")
    again = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert int(again.stdout) == before + 1
    assert verify(engine).events == before + 1
    (case,) = list_cases(engine)
    assert (case["status"], case["version"]) == ("triaging", 2)


MAKE_CHECKPOINT = """
import sys
from pathlib import Path
from fangcuan.cases.history import checkpoints
from fangcuan.cases.history import keys
from fangcuan.store.database import open_engine
key = keys.load(Path(sys.argv[2]))
print(checkpoints.make(open_engine(sys.argv[1]), key, keys=[key.public])["size"])
"""


@pytest.mark.parametrize("failpoint", CHECKPOINT)
def test_a_checkpoint_killed_half_way_leaves_nothing_and_is_made_again(
    engine: Engine, url: str, folder: Path, tmp_path: Path, failpoint: str
) -> None:
    file_night(engine, folder, [make_finding()])
    before = verify(engine).events
    public = keys.generate(tmp_path / "key", "casebook.example")
    arguments = [sys.executable, "-c", MAKE_CHECKPOINT, url, str(tmp_path / "key")]
    killed = subprocess.run(arguments, env={**os.environ, "FANGCUAN_FAILPOINT": failpoint}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    with read(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(checkpoint)) == 0
    assert verify(engine, keys=[public]).events == before
    again = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert int(again.stdout) == before
    found = verify(engine, keys=[public])
    assert (found.exit_code, found.events) == (0, before + 1)


def test_the_nth_visit_of_a_failpoint() -> None:
    code = "from fangcuan.core.failpoints import hit\nfor n in range(5):\n    hit('other'); hit('here'); print(n, flush=True)"
    environment = {**os.environ, "FANGCUAN_FAILPOINT": "here:3"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (found.returncode, found.stdout.split()) == (-signal.SIGKILL, ["0", "1"])
