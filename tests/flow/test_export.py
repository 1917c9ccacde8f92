"""A bundle verifies with the standard library alone; what was changed in it is named, and what leads out of it refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from export_home import NUMBER, bundle, prepare, resealed, verified
from typer.testing import CliRunner

from fangcuan.cases import workflow
from fangcuan.cases.export import bag, report
from fangcuan.cases.letters.rendering import words as letter_words
from fangcuan.cases.refusals import CommandRefused, Conflict, NotAuthorised, UnknownCase, list_refusals
from fangcuan.cases.views import show_case
from fangcuan.cli.main import app
from fangcuan.flow.casework import act
from fangcuan.flow.explain import render
from fangcuan.flow.exporting import ExportRefused, _working_folder, export_case
from fangcuan.flow.installation import Installation, open_installation

Homes = Callable[..., Installation]


@pytest.fixture(scope="session")
def worked(judged_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with a case that was worked on, and the key of its checkpoints."""
    folder = tmp_path_factory.mktemp("worked") / "home"
    shutil.copytree(judged_once, folder)
    home = open_installation(folder)
    key = prepare(home)
    home.engine.dispose()
    return folder, key


@pytest.fixture
def home(worked: tuple[Path, str], tmp_path: Path) -> Iterator[Installation]:
    shutil.copytree(worked[0], tmp_path / "home")
    opened = open_installation(tmp_path / "home")
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope="session")
def made(worked: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bundle of everything; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(worked[0], folder / "home")
    home = open_installation(folder / "home")
    path = bundle(home, folder / "bundle", replayed=True)
    home.engine.dispose()
    return path


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def test_a_bundle_verifies_alone_and_offline(made: Path, worked: tuple[Path, str]) -> None:
    done = verified(made, "--key", worked[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{NUMBER}: " in done.stdout
    assert "events are in the checkpoint of" in done.stdout
    done = verified(made)
    assert (done.returncode, "no --key was given" in done.stdout) == (0, True)
    other = "example.com/house+98f53f28+AbsFpfZ2jeEnHmWhhKQuNZwr2C8LblZ8RhlsJW3M1EJz"
    done = verified(made, "--key", other)
    assert (done.returncode, "not signed by the given key" in done.stderr) == (1, True)
    replay = json.loads((made / "data" / "replay.json").read_text())
    assert replay["verdict"]["state"] == "reproduced"
    assert replay["runs"]


def test_the_crate_describes_every_file(made: Path) -> None:
    graph = json.loads((made / "data" / "ro-crate-metadata.json").read_text())["@graph"]
    root = next(one for one in graph if one["@id"] == "./")
    files = {p.relative_to(made / "data").as_posix() for p in (made / "data").rglob("*") if p.is_file()}
    assert {part["@id"] for part in root["hasPart"]} == files - {"ro-crate-metadata.json"}
    assert {"case.json", "timeline.jsonl", "report-zh.pdf", "report-en.pdf", "proofs/proof.json"} <= files
    assert root["datePublished"]
    assert root["license"]


def test_a_changed_byte_anywhere_is_named(copy: Path, made: Path) -> None:
    script = made / "verify.py"
    files = sorted(p for p in copy.rglob("*") if p.is_file() and p.name != "tagmanifest-sha256.txt")
    assert len(files) > 10
    for path in files:
        data = path.read_bytes()
        for at in (0, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            done = verified(copy, script=script)
            assert done.returncode == 1, (path, at)
            assert path.name in done.stderr, (path, at, done.stderr)
        path.write_bytes(data)
    path = copy / "tagmanifest-sha256.txt"
    data = path.read_bytes()
    for at in range(0, len(data), 37):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        done = verified(copy, script=script)
        assert (done.returncode, path.name in done.stderr) == (1, True), (at, done.stderr)
    path.write_bytes(data)
    assert verified(copy, script=script).returncode == 0


def test_files_that_were_added_or_taken_are_named(copy: Path) -> None:
    extra = copy / "data" / "evidence" / ("ab" * 32 + ".json")
    extra.write_text("{}")
    done = verified(copy)
    assert (done.returncode, f"{extra.name}: not listed" in done.stderr) == (1, True)
    resealed(copy)
    done = verified(copy)
    assert (done.returncode, f"{extra.name} is not described" in done.stderr) == (1, True)
    extra.unlink()
    gone = next((copy / "data" / "evidence").iterdir())
    gone.unlink()
    resealed(copy)
    done = verified(copy)
    assert (done.returncode, f"{gone.name}: missing, and the history names it" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "name",
    [
        "data/../../outside",
        "../outside",
        "/etc/hostname",
        "data//case.json",
        "data/./case.json",
        "data\\..\\outside",
        "C:/x",
    ],
)
def test_names_that_lead_out_are_refused(copy: Path, name: str) -> None:
    (copy.parent / "outside").write_text("x")
    with (copy / "manifest-sha256.txt").open("a", encoding="utf-8") as manifest:
        manifest.write(f"{'ab' * 32}  {name}\n")
    tags = copy / "tagmanifest-sha256.txt"
    lines = [line for line in tags.read_text().splitlines() if not line.endswith("  manifest-sha256.txt")]
    tags.write_text(
        "\n".join([*lines, f"{bag.sha256((copy / 'manifest-sha256.txt').read_bytes())}  manifest-sha256.txt"]) + "\n"
    )
    done = verified(copy)
    assert done.returncode == 1
    assert "leads out of the bundle" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_links_and_pipes_are_refused(copy: Path) -> None:
    (copy / "data" / "link").symlink_to("/etc/hostname")
    done = verified(copy)
    assert (done.returncode, "data/link: no plain file" in done.stderr) == (1, True)
    (copy / "data" / "link").unlink()
    os.mkfifo(copy / "data" / "pipe")
    done = verified(copy)
    assert (done.returncode, "data/pipe: no plain file" in done.stderr) == (1, True)


def test_attachments_are_there_and_what_they_were(copy: Path) -> None:
    (letter,) = (copy / "data" / "attachments").iterdir()
    assert "Dealer 郑州" in letter.read_text(encoding="utf-8")
    data = letter.read_bytes()
    letter.write_bytes(data + b"x")
    crate = copy / "data" / "ro-crate-metadata.json"
    crate.write_text(
        crate.read_text().replace(f'"sha256": "{bag.sha256(data)}"', f'"sha256": "{bag.sha256(data + b"x")}"')
    )
    resealed(copy)
    done = verified(copy)
    assert (done.returncode, f"{letter.name}: its content is not what its name says" in done.stderr) == (1, True)
    letter.rename(letter.with_name("ab" * 32))
    crate.write_text(crate.read_text().replace(f"attachments/{letter.name}", f"attachments/{'ab' * 32}"))
    resealed(copy)
    done = verified(copy)
    assert (done.returncode, f"{letter.name}: missing, and the history names it" in done.stderr) == (1, True)
    assert "the history names no such attachment" in done.stderr


def test_swapped_evidence_is_refused_even_with_new_manifests(copy: Path) -> None:
    first, second = sorted((copy / "data" / "evidence").iterdir())[:2]
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    crate = copy / "data" / "ro-crate-metadata.json"
    text = crate.read_text()
    crate.write_text(
        text.replace(bag.sha256(one), "?").replace(bag.sha256(two), bag.sha256(one)).replace("?", bag.sha256(two))
    )
    resealed(copy)
    done = verified(copy)
    assert done.returncode == 1
    assert f"{first.name}: its content is not what its name says" in done.stderr
    assert f"{second.name}: its content is not what its name says" in done.stderr


def test_a_rewritten_history_is_told_by_its_hashes_and_by_the_proof(copy: Path, worked: tuple[Path, str]) -> None:
    timeline = copy / "data" / "timeline.jsonl"
    lines = [json.loads(line) for line in timeline.read_text().splitlines()]
    lines[-1]["body"] = lines[-1]["body"].replace("approved", "rejected")
    crate = copy / "data" / "ro-crate-metadata.json"

    def written(events: list[dict[str, Any]]) -> None:
        before = bag.sha256(timeline.read_bytes())
        timeline.write_text("".join(json.dumps(one, ensure_ascii=False, sort_keys=True) + "\n" for one in events))
        crate.write_text(crate.read_text().replace(before, bag.sha256(timeline.read_bytes())))
        resealed(copy)

    written(lines)
    done = verified(copy, "--key", worked[1])
    assert (done.returncode, "is not that of its body" in done.stderr) == (1, True)
    body = bytes.fromhex(lines[-1]["prev_hash"]) + lines[-1]["body"].encode()
    lines[-1]["hash"] = bag.sha256(b"\x00" + body)
    written(lines)
    done = verified(copy, "--key", worked[1])
    assert (done.returncode, "is not the one of the timeline" in done.stderr) == (1, True)
    proof = copy / "data" / "proofs" / "proof.json"
    told = json.loads(proof.read_text())
    told["events"][-1]["body"] = lines[-1]["body"]
    before = bag.sha256(proof.read_bytes())
    proof.write_text(json.dumps(told, ensure_ascii=False))
    crate.write_text(crate.read_text().replace(before, bag.sha256(proof.read_bytes())))
    resealed(copy)
    done = verified(copy, "--key", worked[1])
    assert (done.returncode, "is not what was signed" in done.stderr) == (1, True)


def test_nothing_in_a_bundle_is_run(copy: Path, made: Path, worked: tuple[Path, str]) -> None:
    trap = copy.parent / "trap"
    for name in ("data/proofs/verify_proof.py", "verify.py", "sitecustomize.py", "json.py", "argparse.py"):
        (copy / name).write_text(f"open({str(trap)!r}, 'w').write('run')\n")
    done = verified(copy, "--key", worked[1], script=made / "verify.py")
    assert done.returncode == 1
    assert not trap.exists()


def test_the_export_is_an_event_with_the_digest_of_what_was_taken(home: Installation, tmp_path: Path) -> None:
    told = export_case(home, NUMBER, tmp_path / "out", actor="qian")
    with home.engine.connect() as connection:
        text = connection.exec_driver_sql(f"select body from event where seq = {told['seq']}").scalar_one()
    body = json.loads(text)
    assert (body["kind"], body["actor"], body["case"]) == ("case.exported", "user:qian", NUMBER)
    assert body["data"]["role"] == "auditor"
    assert body["data"]["profile"] == "auditor"
    assert body["data"]["manifest_sha256"] == bag.sha256((tmp_path / "out" / "manifest-sha256.txt").read_bytes())
    done = CliRunner().invoke(app, ["audit", "verify", "--home", str(home.settings.home)])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("who", "error"), [("ling", NotAuthorised), ("admin", NotAuthorised), ("nobody", CommandRefused)]
)
def test_who_may_not_export_gets_nothing_and_is_logged(
    home: Installation, tmp_path: Path, who: str, error: type[Exception]
) -> None:
    before = sorted(tmp_path.iterdir())
    for profile in ("auditor", "court", "dealer"):
        with pytest.raises(error):
            export_case(home, NUMBER, tmp_path / "out", profile=profile, actor=who)
    assert sorted(tmp_path.iterdir()) == before
    assert [one["command"] for one in list_refusals(home.engine)][:3] == ["export"] * 3


def test_what_cannot_be_exported(home: Installation, tmp_path: Path) -> None:
    with pytest.raises(UnknownCase):
        export_case(home, "FC-2026-999999", tmp_path / "out", actor="zhao")
    with pytest.raises(ExportRefused, match="expected one of auditor, court, dealer"):
        export_case(home, NUMBER, tmp_path / "out", profile="press", actor="zhao")
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportRefused, match="there already"):
        export_case(home, NUMBER, tmp_path / "out", actor="zhao")


def test_a_case_that_goes_on_meanwhile_is_not_exported(
    home: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bag = bag.write_bag

    def slow(*arguments: Any) -> str:
        act(home, "comment", NUMBER, actor="ling", params={"text": "one more thing"})
        return write_bag(*arguments)

    monkeypatch.setattr(bag, "write_bag", slow)
    with pytest.raises(Conflict):
        export_case(home, NUMBER, tmp_path / "out", actor="zhao")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_lost_evidence_is_said_and_the_rest_verifies(home: Installation, tmp_path: Path) -> None:
    name = show_case(home.engine, home.evidence, NUMBER, render)["findings_detail"][0]["evidence_sha256"]
    home.evidence.path(name).chmod(0o600)
    home.evidence.path(name).unlink()
    folder = bundle(home, tmp_path / "out")
    case = json.loads((folder / "data" / "case.json").read_text())
    assert case["evidence_lost"] == [name]
    assert not (folder / "data" / "evidence" / f"{name}.json").exists()
    done = verified(folder)
    assert done.returncode == 0, done.stderr


def test_the_command_writes_and_says_it(home: Installation, tmp_path: Path) -> None:
    run, place = CliRunner(), ["--home", str(home.settings.home)]
    out = tmp_path / "given"
    done = run.invoke(
        app, ["export", NUMBER, "--as", "zhao", "--out", str(out), "--profile", "court", "--json", *place]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["manifest_sha256"] == bag.sha256((out / "manifest-sha256.txt").read_bytes())
    assert run.invoke(app, ["export", NUMBER, "--as", "ling", "--out", str(tmp_path / "no"), *place]).exit_code == 1


def test_on_both_databases(new_home: Homes, small_world: Path, flow_tools: dict[str, Any], tmp_path: Path) -> None:
    home = new_home()
    flow_tools["judge"](home, small_world, flow_tools["nights"][:2])
    key = prepare(home)
    done = verified(bundle(home, tmp_path / "out"), "--key", key)
    assert done.returncode == 0, done.stdout + done.stderr
    flow_tools["state"](home)


_EXPORT = """
import sys
from pathlib import Path
from fangcuan.flow import exporting, installation
home = installation.open_installation(Path(sys.argv[1]))
exporting.export_case(home, sys.argv[2], Path(sys.argv[3]), profile="dealer", actor="zhao")
"""


def _killed(home: Installation, out: Path, failpoint: str) -> int:
    """Export in a process that is killed at the failpoint; its exit code."""
    command = [sys.executable, "-c", _EXPORT, str(home.settings.home), NUMBER, str(out)]
    return subprocess.run(command, env={**os.environ, "FANGCUAN_FAILPOINT": failpoint}, timeout=120).returncode


@pytest.mark.parametrize("failpoint", ["export.recorded", "export.disclosed", "export.renamed"])
def test_killed_between_its_event_and_its_name_it_is_asked_for_again(
    home: Installation, tmp_path: Path, failpoint: str
) -> None:
    out, disclosure = tmp_path / "out" / "b[1]", tmp_path / "out" / "b[1].disclosure.json"
    before = len(exports_of(home))
    home.engine.dispose()
    assert _killed(home, out, failpoint) == -9
    assert len(exports_of(home)) == before + 1, "who has taken it is known"
    named = {path.name for path in out.parent.iterdir() if not path.name.startswith(".")}
    if failpoint == "export.renamed":
        assert named == {out.name, disclosure.name}
        assert verified(out).returncode == 0
        with pytest.raises(ExportRefused, match="is there already"):
            bundle(home, out, "dealer")
        return
    assert out.name not in named, "a bundle has a name before it is finished"
    done = bundle(home, out, "dealer")
    assert verified(done, "--disclosure", str(disclosure)).returncode == 0
    assert {path.name for path in out.parent.iterdir()} == {out.name, disclosure.name}
    assert len(exports_of(home)) == before + 2
    manifest = bag.sha256((done / "manifest-sha256.txt").read_bytes())
    assert json.loads(disclosure.read_text())["manifest_sha256"] == manifest == exports_of(home)[-1]["manifest_sha256"]


def test_what_an_export_left_that_still_runs_is_not_removed(home: Installation, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with _working_folder(out) as running:
        (running / "bundle").mkdir()
        bundle(home, out)
        assert (running / "bundle").is_dir()
    # The disclosure of a bundle that was given away stays, whatever was left beside it.
    given = bundle(home, tmp_path / "dealer", "dealer")
    shutil.move(given, tmp_path / "given")
    (tmp_path / ".dealer.0.partial" / "bundle").mkdir(parents=True)
    shutil.copy(tmp_path / "bundle" / "manifest-sha256.txt", tmp_path / ".dealer.0.partial" / "bundle")
    with pytest.raises(ExportRefused, match="is there already"):
        bundle(home, tmp_path / "dealer", "dealer")
    assert (tmp_path / "dealer.disclosure.json").is_file()


def exports_of(home: Installation) -> list[dict[str, Any]]:
    case = show_case(home.engine, home.evidence, NUMBER, render)
    return [one["data"] for one in case["timeline"] if one["kind"] == "case.exported"]


def test_every_code_of_a_proposal_has_words() -> None:
    rules, letters = workflow.default(), letter_words()["outcomes"]
    for language, words in report._words().items():
        assert set(words["kinds"]) == {each.kind for each in rules.proposals}, language
        assert set(words["verdicts"]) == {each.verdict for each in rules.verdicts}
        stated = {word for each in rules.proposals for word in (*each.reasons, *each.outcomes, *each.classes)}
        assert not stated - {*words["classes"], *words["grounds_of"], *letters}
