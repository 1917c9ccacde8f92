"""`fangcuan quality` and the page that is made from its figures."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from fangcuan.cli.main import app
from fangcuan.quality.arrived import Arrived, Filed
from fangcuan.quality.baselines import RULES
from fangcuan.quality.bench import Plan, run
from fangcuan.quality.spec import DIVERTING, FAMILIES

ROOT = Path(__file__).parents[2]
SMALL = ("--dealers", "100", "--seeds", "2", "--family", "plain", "--family", "mixed", "--method", "five_mismatches")


def page() -> Any:
    spec = importlib.util.spec_from_file_location("quality_page", ROOT / "benchmarks" / "quality_page.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_writes_what_it_prints(tmp_path: Path) -> None:
    file = tmp_path / "figures" / "quality.json"
    done = CliRunner().invoke(app, ["quality", *SMALL, "--out", str(file), "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    written = json.loads(file.read_text(encoding="utf-8"))
    assert {**printed, "seconds": written["seconds"]} == written
    rows = [(row["family"], row["coverage"], row["method"]) for row in printed["results"]]
    assert rows == [
        ("plain", 0.02, "five_mismatches"),
        *(("mixed", coverage, "five_mismatches") for coverage in (0.01, 0.02, 0.05)),
    ]
    assert "8 of 8 worlds" in done.stderr
    null, *_, mixed = printed["results"]
    assert (null["kind"], null["set"], null["schemes"], null["years"]) == ("null", "tuning", 0, 2)
    assert null["false_cases_per_year_upper"] > null["false_cases_per_year"]
    assert mixed["schemes"] == 6
    low, high = mixed["false_discovery_rate"]["interval"]
    assert low <= mixed["false_discovery_rate"]["mean"] <= high
    (seen, *_), last = printed["visible"], printed["visible"][-1]
    assert (seen["family"], seen["coverage"], last["coverage"]) == ("mixed", 0.01, 0.05)
    assert sum(row["schemes"] for row in printed["visible"]) == 3 * 6
    assert all(row["three_shared_cartons"] <= row["shared_carton"] <= 1.0 for row in printed["visible"])
    text = page().page(written)
    assert "### mixed, 5% of units scanned" in text
    assert text.count("`five_mismatches`") == 4


def test_the_same_plan_gives_the_same_figures() -> None:
    plan = Plan(families=("mixed",), coverages=(0.02,), seeds=(4,), dealers=60)
    makers = {"five_mismatches": lambda: RULES["five_mismatches"]}
    one, other = (run(plan, makers)["results"] for _ in range(2))
    assert one == other


def test_a_detector_of_ones_own_is_made_anew_for_each_world() -> None:
    class Mine:
        asked: ClassVar[list[list[int]]] = []

        def __init__(self) -> None:
            self.asked.append([])

        def __call__(self, arrived: Arrived) -> Filed:
            self.asked[-1].append(arrived.week)
            return Filed.of_accounts(arrived.orders[:, -1] > 100, arrived.orders[:, -1])

    result = run(Plan(families=("plain",), seeds=(1, 2), dealers=100), {"mine": Mine})
    assert Mine.asked == [list(range(26, 78))] * 2
    assert [row["method"] for row in result["results"]] == ["mine"]


def test_the_example_of_the_page_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", page().HEAD, re.S)
    shown: dict[str, Any] = {}
    exec(example.split("print(")[0], shown)
    plan = Plan(families=("mixed",), coverages=(0.02,), seeds=(1,), dealers=200)
    assert shown["run"](plan, {"mine": shown["Mine"]})["results"][0]["cases"] > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [(("--family", "x"), "no family 'x'"), (("--method", "x"), "no rule x"), (("--dealers", "30000"), "dealers")],
)
def test_what_does_not_exist_is_named(given: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["quality", *given])
    assert done.exit_code == 1
    assert said in done.stderr


def test_the_committed_page_is_made_from_the_committed_figures() -> None:
    result = json.loads((ROOT / "benchmarks/results/quality_baselines.json").read_text(encoding="utf-8"))
    assert {row["family"] for row in result["results"]} == set(FAMILIES)
    assert {row["method"] for row in result["results"]} == set(RULES)
    assert {row["family"] for row in result["visible"]} == set(DIVERTING)
    committed = (ROOT / "docs/quality.md").read_text(encoding="utf-8")
    assert committed == page().page(result), "run `python benchmarks/quality_page.py`"
