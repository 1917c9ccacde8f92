"""A rule is one YAML file: listed, tested, run at night; filing cases only once someone has approved it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., tuple[int, Any]]
Approve = Callable[[str], str]
UNIT = "diversion.overlay_visits"


def add_rule(overlay: Path, text: str) -> Path:
    path = overlay / "rules" / "diversion" / "overlay_visits.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def ids(items: dict[str, Any]) -> set[str]:
    return {item["id"] for item in items["items"]}


def found_by(home: Path, run_id: str) -> list[str]:
    from fangcuan.flow.installation import open_installation
    from fangcuan.flow.night import findings_of

    return [finding.unit_id for finding in findings_of(open_installation(home), run_id)]


def test_one_file_is_listed_tested_run_and_files_once_approved(
    home: Path, world: Path, overlay: Path, fangcuan: Run, approved: Approve, rule_text: str, night: str
) -> None:
    before = ids(fangcuan("rules", "list", "--json")[1])
    assert UNIT not in before
    add_rule(overlay, rule_text)

    assert ids(fangcuan("rules", "list", "--json")[1]) == before | {UNIT}
    assert fangcuan("check")[0] == 0
    code, tested = fangcuan("rules", "test", UNIT, "--json")
    assert code == 0
    assert len(tested["items"]) == 2
    code, told = fangcuan("rules", "explain", UNIT)
    assert code == 0
    assert "Seen by an inspector" in told

    code, judged = fangcuan("nightly", "--world", str(world), "--date", night, "--json")
    assert code == 0, "what nobody approved files nothing"
    (result,) = judged["items"]
    assert (result["cases_opened"], result["findings"]) == (0, 0)
    assert result["shadow_findings_by_unit"] == {UNIT: 1}
    assert found_by(home, result["run_id"]) == [UNIT], "a shadow computes what it would have found"
    assert fangcuan("cases", "list", "--json")[1] == {"items": []}

    assert "approved" in approved(UNIT)
    # The same rows judged on the next night: the rule files now.
    code, judged = fangcuan("nightly", "--world", str(world), "--date", "2026-03-19", "--json")
    assert code == 10
    (case,) = fangcuan("cases", "list", "--json")[1]["items"]
    assert (case["family"], case["subject"]["id"]) == ("diversion", "D1")
    assert "2 codes of D1" in fangcuan("cases", "show", case["number"])[1]


def test_a_changed_rule_needs_approval_again(
    home: Path, overlay: Path, fangcuan: Run, approved: Approve, rule_text: str
) -> None:
    from fangcuan.detect.units import load_units
    from fangcuan.flow.approve import shadow_units
    from fangcuan.flow.installation import open_installation

    path = add_rule(overlay, rule_text)
    approved(UNIT)
    assert UNIT not in shadow_units(open_installation(home), load_units())
    path.write_text(rule_text.replace("value: 2", "value: 3"), encoding="utf-8")
    assert UNIT in shadow_units(open_installation(home), load_units())
    versions = fangcuan("rules", "versions", UNIT, "--json")[1]["items"]
    assert [(one["proposed_by"], one["approved_by"]) for one in versions] == [("user:ling", "user:wei")]


def test_nobody_approves_his_own_rule(home: Path, overlay: Path, fangcuan: Run, rule_text: str) -> None:
    add_rule(overlay, rule_text)
    for user, role in (("ling", "rule_author"), ("wei", "rule_approver")):
        assert fangcuan("users", "add", user, "--name", user)[0] == 0
        assert fangcuan("users", "grant", user, role)[0] == 0
    assert fangcuan("rules", "approve", UNIT, "--as", "wei")[0] == 1, "nothing was proposed"
    assert fangcuan("rules", "propose", UNIT)[0] == 1, "an administrator is no author"
    assert fangcuan("rules", "propose", UNIT, "--as", "ling")[0] == 0
    assert fangcuan("rules", "approve", UNIT, "--as", "ling")[0] == 1
    # Two names from one terminal, that of the administrator who sits there.
    code, said = fangcuan("rules", "approve", UNIT, "--as", "wei")
    assert code == 1
    assert "somebody else has to decide" in said
    assert fangcuan("rules", "propose", "price.nothing", "--as", "ling")[0] == 1


def test_making_an_installation_approves_what_was_shipped_only(
    overlay: Path, fangcuan: Run, rule_text: str, tmp_path: Path
) -> None:
    from fangcuan.detect.units import load_units
    from fangcuan.flow.approve import shadow_units
    from fangcuan.flow.installation import open_installation

    add_rule(overlay, rule_text)
    assert fangcuan("init", "--home", str(tmp_path / "home"))[0] == 0
    units = load_units()
    assert UNIT in units
    shadow = {key for key, unit in units.items() if unit.rule.status == "shadow"}
    assert shadow_units(open_installation(tmp_path / "home"), units) == shadow | {UNIT}


def test_the_line_of_a_night_says_what_a_shadow_found(
    home: Path, world: Path, overlay: Path, fangcuan: Run, rule_text: str, night: str
) -> None:
    add_rule(overlay, rule_text)
    told = f"found in shadow, opening no case: 1 ({UNIT} 1)"
    code, said = fangcuan("nightly", "--world", str(world), "--date", night)
    assert (code, said.splitlines()[-1]) == (0, f"{night}  0 findings, 0 cases opened, 0 updated; {told}")
    assert "shadow" not in fangcuan("nightly", "--world", str(world), "--date", night)[1], "nothing was judged"


def test_the_line_of_several_nights_says_what_shadows_found(
    home: Path, world: Path, overlay: Path, fangcuan: Run, rule_text: str, night: str
) -> None:
    add_rule(overlay, rule_text)
    said = fangcuan("nightly", "--world", str(world), "--from", night, "--to", "2026-03-19")[1].splitlines()[-1]
    assert said.startswith("2 nights judged, 0 judged before, 0 cases opened; ")
    assert f"found in shadow, opening no case: 2 ({UNIT} 2)" in said


def test_a_storm_is_shown_in_both_languages(
    home: Path, world: Path, overlay: Path, fangcuan: Run, approved: Approve, rule_text: str, night: str
) -> None:
    text = rule_text
    for old, new in (
        ("value: 2", "value: 1"),
        ("subject: partner\n", "subject: partner\ncase: {max_cases: 1}\n"),
        ("partner_id as subject_id", "epc as subject_id"),
        ("group by partner_id", "group by partner_id, epc"),
    ):
        text = text.replace(old, new)
    add_rule(overlay, text)
    approved(UNIT)
    code, judged = fangcuan("nightly", "--world", str(world), "--date", night, "--json")
    assert (code, judged["items"][0]["storms"]) == (10, 1)
    (case,) = fangcuan("cases", "list", "--json")[1]["items"]
    said = fangcuan("cases", "show", case["number"])[1]
    assert f"On {night} {UNIT} would have opened or woken 2 cases; its limit is 1." in said
    assert f"{night} 当晚 {UNIT} 将新立或重新开启 2 个案件，超过其上限 1" in said
    assert "evidence: 2 rows" in said
    assert all(f"subject_id={code}, " in said for code in ("u1", "u2"))
