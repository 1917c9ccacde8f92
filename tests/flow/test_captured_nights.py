"""Listing pages behind price cases: captured after a night was filed, so many a night and host, each an event of its case."""

from __future__ import annotations

import csv
import datetime as dt
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from fangcuan.cases.evidence.attachments import attachments_of
from fangcuan.cases.history.verification import verify
from fangcuan.flow.approve import approve_shipped
from fangcuan.flow.capturing import KIND, capture_findings
from fangcuan.flow.installation import Installation, initialise, open_installation
from fangcuan.flow.nightly import judge_night
from fangcuan.store.casework import event
from fangcuan.store.database import read

sys.path.insert(0, str(Path(__file__).parent))
from hostile import PAGE, Server, serving, sized

NIGHTS = [dt.date(2026, 3, 10), dt.date(2026, 3, 11)]
DEALERS = ["D1", "D2", "D3"]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        for dealer in DEALERS:
            running.page(f"/item/{dealer}", sized(PAGE))
        yield running


@pytest.fixture
def world(tmp_path: Path, server: Server) -> Path:
    """Three dealers below the floor for two nights, each with a listing page of his own."""
    folder = tmp_path / "world"
    write_csv(folder / "master" / "products.csv", [{"sku": "S1", "name": "Baijiu", "product_line": "baijiu"}])
    write_csv(
        folder / "master" / "partners.csv", [{"partner_id": one, "name": one, "kind": "dealer"} for one in DEALERS]
    )
    policy = {"policy_id": "P1", "mode": "band", "floor": 100, "currency": "CNY", "tolerance_pct": 2}
    policy |= {"jurisdiction": "CN", "legal_basis": "policy", "approved_by": "legal", "valid_from": "2026-01-01"}
    write_csv(folder / "master" / "price_policies.csv", [policy])
    for night in NIGHTS:
        looks = [
            {
                "observation_id": f"{dealer}-{night}",
                "source_id": "spider",
                "observed_at": f"{night}T10:00:00+08:00",
                "channel": "online",
                "partner_id": dealer,
                "sku": "S1",
                "surface": "list",
                "price": 60,
                "currency": "CNY",
                "listing_url": f"http://127.0.0.1:{server.port}/item/{dealer}",
            }
            for dealer in DEALERS
        ]
        write_csv(folder / "feeds" / "price_observations" / f"{night}.csv", looks)
    return folder


@pytest.fixture
def judged(tmp_path: Path, world: Path) -> tuple[Callable[..., Installation], str]:
    """Opens the home of two judged nights with other settings; and the run of the second night."""
    place = initialise(tmp_path / "home", capture_allow=["127.0.0.1"], memory_limit="1GB")
    approve_shipped(place)
    results = [judge_night(place, night, world=world) for night in NIGHTS]
    assert results[-1]["cases_opened"] == len(DEALERS), results[-1]

    def reopen(**settings: Any) -> Installation:
        lines = [
            f"{name} = {json.dumps(value)}" for name, value in {"capture_allow": ["127.0.0.1"], **settings}.items()
        ]
        (tmp_path / "home" / "fangcuan.toml").write_text("\n".join(lines) + "\n")
        return open_installation(tmp_path / "home")

    return reopen, results[-1]["run_id"]


def captured(place: Installation) -> list[dict[str, Any]]:
    with read(place.engine) as connection:
        bodies = [json.loads(text) for text in connection.execute(select(event.c.body).order_by(event.c.seq)).scalars()]
    return [body for body in bodies if body["kind"] == KIND]


def test_nothing_is_asked_for_unless_the_setting_says_so(judged: Any, server: Server) -> None:
    reopen, run_id = judged
    assert capture_findings(reopen(), run_id)["state"] == "off"
    assert server.asked == []


def test_each_page_is_an_event_of_its_case_and_asked_for_once(judged: Any, server: Server) -> None:
    reopen, run_id = judged
    waits: list[float] = []
    place = reopen(capture_most=2, capture_most_per_host=5, capture_delay=30)
    first = capture_findings(place, run_id, wait=waits.append)
    assert first == {"state": "done", "captured": 2, "known": 0, "left": 1, "problems": []}
    assert len(waits) == 1
    assert 29 < waits[0] <= 30
    events = captured(place)
    assert len({body["case"] for body in events}) == 2
    for body in events:
        data = body["data"]
        assert data["capture"]["sha256"] in place.evidence
        assert data["finding_ids"]
        assert body["night"] == NIGHTS[-1].isoformat()
    assert verify(place.engine).exit_code == 0
    # Once more, as after a kill: what the cases have is not asked for again, and the bound of the night still holds.
    assert capture_findings(place, run_id, wait=waits.append)["captured"] == 0
    more = capture_findings(reopen(capture_most=9, capture_delay=0), run_id)
    assert (more["captured"], more["known"], more["left"]) == (1, 2, 0)
    assert sorted(server.paths()) == [f"/item/{dealer}" for dealer in DEALERS]


def test_the_command_attaches_a_capture_in_the_name_of_whoever_may(judged: Any, server: Server) -> None:
    from typer.testing import CliRunner

    from fangcuan.cases.views import CaseFilter, list_cases
    from fangcuan.cli.main import app
    from fangcuan.flow.accounts import demo_accounts

    reopen, _ = judged
    place = reopen()
    demo_accounts(place)
    number = list_cases(place.engine, CaseFilter())[0]["number"]

    def ask(user: str) -> Any:
        page = f"http://127.0.0.1:{server.port}/item/D1"
        more = ["--case", number, "--as", user, "--home", str(place.settings.home), "--json"]
        return CliRunner().invoke(app, ["capture", page, *more])

    done = ask("ling")
    assert done.exit_code == 0, done.output
    sha256 = json.loads(done.stdout)["sha256"]
    with read(place.engine) as connection:
        (row,) = attachments_of(connection, number)
    assert (row["kind"], row["sha256"], row["attached_by"]) == ("capture", sha256, "user:ling")
    assert ask("qian").exit_code == 1
    assert verify(place.engine).exit_code == 0


def test_a_host_has_its_own_bound_and_a_page_that_fails_stops_nothing(judged: Any, server: Server) -> None:
    reopen, run_id = judged
    server.page("/item/D1", b"")
    done = capture_findings(reopen(capture_most=9, capture_most_per_host=2, capture_delay=0), run_id)
    assert (done["captured"], done["left"], len(done["problems"])) == (1, 1, 1)
    assert "/item/D1" in done["problems"][0]


def test_a_private_listing_url_is_not_asked_for(judged: Any, server: Server) -> None:
    """The address of a listing is what a scraper wrote down, and so anybody's."""
    reopen, run_id = judged
    done = capture_findings(reopen(capture_most=9, capture_delay=0, capture_allow=[]), run_id)
    assert (done["captured"], len(done["problems"])) == (0, 3)
    assert all("is not a public address" in problem for problem in done["problems"])
    assert server.asked == []
