"""A case is split on the command line, and both parts go on: shown, judged again, exported and verified by themselves."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from export_home import NUMBER, verified
from typer.testing import CliRunner

from fangcuan.cases.filing.grouping import GroupingPolicy, UnitFiling
from fangcuan.cases.filing.nights import file_findings
from fangcuan.cli.main import app
from fangcuan.core.finding import EvidenceRef
from fangcuan.flow.accounts import demo_accounts
from fangcuan.flow.installation import Installation, open_installation
from fangcuan.flow.night import findings_of, open_night

NEW = f"FC-{dt.datetime.now(dt.UTC).year}-000002"


@pytest.fixture
def home(judged_once: Path, tmp_path: Path, flow_tools: dict[str, Any]) -> Installation:
    """A judged home whose case got a second finding, about another product, on a later night."""
    shutil.copytree(judged_once, tmp_path / "home")
    home = open_installation(tmp_path / "home")
    night = flow_tools["nights"][-1]
    run = open_night(home, night)
    (found,) = (one for one in findings_of(home, run["run_id"]) if one.role == "case")
    evidence = (EvidenceRef("trace_events", "e9|urn:9|item", "a" * 64),)
    keys = {**found.fingerprint_keys, "sku": "S9"}
    other = dataclasses.replace(found, sku="S9", evidence=evidence, fingerprint_keys=keys)
    file_findings(
        home.engine,
        home.evidence,
        run_id=run["run_id"],
        night=night + dt.timedelta(days=1),
        findings=[other],
        evidence=lambda _: {"rows": [], "masters": {}, "unit": {}, "coverage": {}},
        unit_settings={other.unit_id: UnitFiling(10, "user:owner")},
        policy=GroupingPolicy(),
    )
    demo_accounts(home)
    return home


def run(home: Installation, *arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--home", str(home.settings.home), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_case_is_split_and_both_parts_are_exported(home: Installation, tmp_path: Path) -> None:
    before = run(home, "cases", "show", NUMBER)
    going = next(one["finding_id"] for one in before["findings_detail"] if one["object"]["sku"] == "S9")
    run(home, "cases", "triage", NUMBER, "--as", "ling")
    run(home, "cases", "split", NUMBER, "--finding", going, "--note", "another product", "--as", "ling")
    assert run(home, "cases", "show", NUMBER)["proposals"][0]["params"]["finding_id"] == [going]
    run(home, "cases", "approve", NUMBER, "--as", "wang")
    old, new = run(home, "cases", "show", NUMBER), run(home, "cases", "show", NEW)
    assert [one["finding_id"] for one in new["findings_detail"]] == [going]
    assert going not in {one["finding_id"] for one in old["findings_detail"]}
    told = CliRunner().invoke(app, ["cases", "show", NUMBER, "--home", str(home.settings.home)]).stdout
    assert f"linked with {NEW}: split_from" in told
    assert f"finding {going[:16]}… went to {NEW}" in told
    back = CliRunner().invoke(app, ["cases", "show", NEW, "--home", str(home.settings.home)]).stdout
    assert f"finding {going[:16]}… came from {NUMBER}" in back
    assert run(home, "audit", "verify")["exit_code"] == 0

    for profile in ("auditor", "dealer"):
        for number in (NUMBER, NEW):
            folder = bundle_of(home, number, tmp_path / f"{number}-{profile}", profile)
            done = verified(folder)
            assert done.returncode == 0, (number, profile, done.stdout, done.stderr)
    # What left is in the bundle of the case that it went to, and in no other one.
    artefact = next(one["evidence_sha256"] for one in new["findings_detail"])
    assert (tmp_path / f"{NEW}-auditor" / "data" / "evidence" / f"{artefact}.json").is_file()
    assert not (tmp_path / f"{NUMBER}-auditor" / "data" / "evidence" / f"{artefact}.json").exists()


def bundle_of(home: Installation, number: str, folder: Path, profile: str) -> Path:
    from fangcuan.flow.exporting import export_case

    export_case(home, number, folder, profile=profile, actor="zhao")
    return folder
