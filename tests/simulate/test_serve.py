"""The served world: paging, authorisation, stumbling, and the ERP table."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from fangcuan.simulate.serve import DEFAULT_TOKEN, load_sql, serve


def get(url: str, token: str | None = DEFAULT_TOKEN) -> dict[str, object]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def patiently(url: str) -> tuple[dict[str, object], list[int]]:
    """The answer, and the refusals met on the way (a 429 without Retry-After counts as 0)."""
    refused: list[int] = []
    for _ in range(3):
        try:
            return get(url), refused
        except urllib.error.HTTPError as error:
            refused.append(error.code if error.code != 429 or error.headers["Retry-After"] == "1" else 0)
    raise AssertionError(f"refused three times: {refused}")


def read_night(base: str, night: str, size: int = 20) -> tuple[list[dict[str, object]], list[int]]:
    address: str | None = f"/price_observations?arrived={night}&page=1&per_page={size}"
    items: list[dict[str, object]] = []
    refusals: list[int] = []
    while address:
        page, refused = patiently(base + address)
        items += page["items"]
        refusals += refused
        address = page["next"]
    return items, refusals


def test_pages_of_every_night_add_up_to_the_feed(tiny_folder: Path) -> None:
    with serve(tiny_folder) as server:
        refusals: list[int] = []
        for night in get(server.url + "/nights")["nights"]:
            items, refused = read_night(server.url, night)
            refusals += refused
            lines = (tiny_folder / "feeds" / "price_observations" / f"{night}.jsonl").read_text(encoding="utf-8")
            assert items == [json.loads(line) for line in lines.splitlines()]
    assert {429, 503} <= set(refusals)


def test_the_same_pages_stumble_every_time(tiny_folder: Path) -> None:
    seen = []
    for _ in range(2):
        with serve(tiny_folder) as server:
            nights = get(server.url + "/nights")["nights"]
            seen.append([read_night(server.url, night, 10)[1] for night in nights])
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/price_observations?arrived=2026-03-30", None, 401),
        ("/price_observations?arrived=2026-03-30", "guess", 401),
        ("/price_observations?arrived=yesterday", DEFAULT_TOKEN, 400),
        ("/price_observations?arrived=2026-03-30&per_page=999999", DEFAULT_TOKEN, 400),
        ("/sales", DEFAULT_TOKEN, 404),
    ],
)
def test_wrong_requests_are_refused_with_a_reason(tiny_folder: Path, path: str, token: str | None, status: int) -> None:
    with serve(tiny_folder, flaky=False) as server, pytest.raises(urllib.error.HTTPError) as caught:
        get(server.url + path, token)
    assert caught.value.code == status
    assert "error" in json.load(caught.value)


def test_only_this_machine_is_served(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="loopback"), serve(tiny_folder, host="0.0.0.0"):
        pass


def test_the_erp_table_grows_with_time(tiny_folder: Path, tmp_path: Path) -> None:
    database = tmp_path / "erp.db"
    count = load_sql(tiny_folder, f"sqlite:///{database}")
    assert load_sql(tiny_folder, f"sqlite:///{database}") == count
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "select id, recorded_at, arrived_on, flow, quantity from erp_sales order by id"
        ).fetchall()
    assert len(rows) == count > 500
    assert [row[0] for row in rows] == list(range(1, count + 1))
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    assert [row[2] for row in rows] == sorted(row[2] for row in rows)


def test_other_databases_get_the_same_table_through_sqlalchemy(tiny_folder: Path, tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.db", tmp_path / "other.db"
    load_sql(tiny_folder, f"sqlite:///{plain}")
    load_sql(tiny_folder, f"sqlite+pysqlite:///{other}")
    answers = []
    for path in (plain, other):
        with closing(sqlite3.connect(path)) as connection:
            answers.append(connection.execute("select * from erp_sales order by id").fetchall())
    assert answers[0] == answers[1]


def test_it_runs_as_a_process_and_ends_when_told(tiny_folder: Path) -> None:
    command = [sys.executable, "-m", "fangcuan.simulate.serve", str(tiny_folder), "--steady", "--seconds", "60"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["url"]
        assert get(address + "/health", None) == {"status": "ok"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
