"""What a reader is not to see is in no layer of what he gets, and every hidden value can be proven later."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pypdf
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from export_home import COMMENT, NUMBER, bundle, prepare, verified

from fangcuan.cases.export.redaction import Known, Redaction, profiles
from fangcuan.cases.export.report import LANGUAGES, drawable, font_files
from fangcuan.cases.views import show_case
from fangcuan.flow.explain import render
from fangcuan.flow.installation import Installation, open_installation

#: What the dealer D1 must not see, and what the court must not.
OTHERS = ("D2", "Dealer 郑州")
STAFF = ("Ling (demo)", "Wang (demo)", "user:ling", "user:wang", "user:zhao")


@pytest.fixture(scope="session")
def bundles(judged_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each profile, side by side."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(judged_once, folder / "home")
    home = open_installation(folder / "home")
    prepare(home)
    for profile in profiles():
        bundle(home, folder / profile, profile)
    home.engine.dispose()
    return folder


@pytest.fixture
def home(bundles: Path) -> Iterator[Installation]:
    opened = open_installation(bundles / "home")
    yield opened
    opened.engine.dispose()


def layers(path: Path, packed: bool) -> Iterator[bytes]:
    """Every byte of a file; of a PDF every page's text and, with `packed`, the bytes and every stream unpacked."""
    data = path.read_bytes()
    if path.suffix != ".pdf":
        yield data
        return
    reader = pypdf.PdfReader(io.BytesIO(data))
    whole = "".join(page.extract_text() for page in reader.pages)
    yield whole.encode()
    # Codes have places to break at in them; whoever searches does not.
    yield re.sub(r"[\u200b\s]", "", whole).encode()
    yield json.dumps(dict(reader.metadata or {}), default=str).encode()
    yield (reader.xmp_metadata.stream.get_data() if reader.xmp_metadata else b"")
    if not packed:
        return
    yield data
    for number in range(1, len(reader.xref.get(0, {})) + len(reader.xref_objStm) + 1):
        found = reader.get_object(pypdf.generic.IndirectObject(number, 0, reader))
        if hasattr(found, "get_data"):
            yield found.get_data()
        yield repr(found).encode()


def spellings(text: str) -> set[bytes]:
    """How a text may stand in a file: as it is, without spaces, escaped in JSON, in UTF-16 as PDF has it, in hex."""
    wide = text.encode("utf-16-be")
    return {
        text.encode(),
        re.sub(r"\s", "", text).encode(),
        json.dumps(text)[1:-1].encode(),
        wide,
        wide.hex().encode(),
        wide.hex().upper().encode(),
    }


def found(folder: Path, text: str) -> list[str]:
    """Files below a folder that have the text in any layer; a code of letters and digits only where it stands alone."""
    hits = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        # Two letters stand by chance in any picture of a letter.
        for layer in layers(path, packed=len(text) > 4):
            for spelling in spellings(text):
                alone = re.escape(spelling)
                if text.isalnum():
                    alone = rb"(?<![A-Za-z0-9])" + alone + rb"(?![A-Za-z0-9])"
                if re.search(alone, layer):
                    hits.append(path.name)
    return hits


def test_every_bundle_verifies_and_says_what_was_hidden(bundles: Path) -> None:
    for profile in profiles():
        folder = bundles / profile
        done = verified(folder)
        assert done.returncode == 0, (profile, done.stdout, done.stderr)
        told = json.loads((folder / "data" / "redaction.json").read_text())
        assert told["profile"] == profile
        letters = list((folder / "data").glob("attachments/*"))
        assert (len(letters), "withheld: 1 attachments" in done.stdout) == (
            (1, False) if profile == "auditor" else (0, True)
        )
        assert bool(told["counts"]) == bool(told["values"]) == (profile != "auditor")
    assert not (bundles / "auditor.disclosure.json").exists()


def test_the_complete_bundle_has_what_the_others_hide(bundles: Path) -> None:
    """Or the tests below would find nothing because there was nothing."""
    for text in (*STAFF, *OTHERS):
        hits = found(bundles / "auditor", text)
        assert "case.json" in hits, text
    for text in STAFF:
        assert {"report-zh.pdf", "report-en.pdf"} <= set(found(bundles / "auditor", text)), text


@pytest.mark.parametrize("text", STAFF)
def test_staff_is_named_by_role_only(bundles: Path, text: str) -> None:
    assert found(bundles / "court", text) == []
    assert found(bundles / "dealer", text) == []


def test_the_court_sees_roles_and_the_rest(bundles: Path) -> None:
    case = json.loads((bundles / "court" / "data" / "case.json").read_text())
    actors = {entry["actor"] for entry in case["timeline"]}
    assert {"service:filing", "[hidden: analyst 1]", "[hidden: supervisor 1]"} <= actors
    assert found(bundles / "court", "Dealer 郑州")
    (comment,) = case["comments"]
    assert "Dealer 郑州 (D2)" in comment["text"]
    assert "[hidden: analyst 1" in comment["text"]


@pytest.mark.parametrize("text", OTHERS)
def test_the_dealer_sees_no_other_partner(bundles: Path, text: str) -> None:
    assert found(bundles / "dealer", text) == []
    assert found(bundles / "dealer", COMMENT[-20:]) == []


def test_the_dealer_sees_his_own_goods_and_nobody_elses(bundles: Path) -> None:
    shown, whole = (
        "".join(p.read_text() for p in (bundles / who / "data" / "evidence").iterdir()) for who in ("dealer", "auditor")
    )
    assert "urn:epc:id:sgtin:6901234.000010.1" in whole
    assert "urn:epc:id:sgtin:6901234.000010.1" in shown
    assert "urn:epc:id:sgtin:6901234.000010.2" not in shown
    case = json.loads((bundles / "dealer" / "data" / "case.json").read_text())
    for name in ("score", "p_value", "probability"):
        assert all(one[name] is None or one[name].startswith("[hidden") for one in case["findings_detail"])
    assert case["subject"]["id"] == "D1"


def test_no_digest_lets_what_is_hidden_be_guessed(bundles: Path, home: Installation) -> None:
    case = show_case(home.engine, home.evidence, NUMBER, render)
    digests = {one["evidence_sha256"] for each in case["findings_detail"] for one in each["occurrences"]}
    digests |= {row["digest"] for each in case["findings_detail"] for row in each["evidence"]["rows"]}
    with home.engine.connect() as connection:
        rows = connection.exec_driver_sql("select hash, body from event").all()
    hashes = {row.hash for row in rows if NUMBER in row.body}
    assert len(digests) > 10
    assert len(hashes) > 10
    # Nothing was hidden in the evidence that the court gets: its digests stay, those of the events go.
    for who, hidden in (("court", hashes), ("dealer", hashes | digests)):
        for path in sorted(path for path in (bundles / who).rglob("*") if path.is_file()):
            text = path.read_bytes()
            assert not [one for one in hidden if one.encode() in text], path
    assert (bundles / "auditor" / "data" / "proofs" / "proof.json").exists()
    for profile in ("court", "dealer"):
        assert "withheld" in (bundles / profile / "data" / "proofs" / "none.json").read_text()


def test_what_was_hidden_can_be_proven_value_by_value(bundles: Path, tmp_path: Path) -> None:
    for profile in ("court", "dealer"):
        path = bundles / f"{profile}.disclosure.json"
        assert path.stat().st_mode & 0o077 == 0
        told = json.loads(path.read_text())
        done = verified(bundles / profile, "--disclosure", str(path))
        assert (done.returncode, "are those that were redacted" in done.stdout) == (0, True), done.stderr
        one = tmp_path / "one.json"
        for change in (
            {"value": told["values"][0]["value"] + "x"},
            {"marker": told["values"][1]["marker"]},
            {"salt": told["values"][1]["salt"]},
            {"marker": "[hidden: nobody 1]"},
        ):
            one.write_text(json.dumps({"values": [{**told["values"][0], **change}]}))
            done = verified(bundles / profile, "--disclosure", str(one))
            assert (done.returncode, "is not what was redacted" in done.stderr) == (1, True), change
        one.write_text(json.dumps({"values": told["values"][:1]}))
        assert verified(bundles / profile, "--disclosure", str(one)).returncode == 0


def test_salts_differ_from_bundle_to_bundle() -> None:
    first, second = (Redaction("dealer", {"kind": "partner", "id": "D1"}, Known()) for _ in range(2))
    shown = [one.apply({"probability": 0.93}) for one in (first, second)]
    assert shown == [{"probability": "[hidden: probability 1]"}] * 2
    assert first.told()["values"][0]["commitment"] != second.told()["values"][0]["commitment"]


def test_names_are_found_in_sentences_and_not_in_other_words() -> None:
    known = Known({"user:li": ("analyst", ("Li Wei", "李威"))}, {"D1": ("甲",), "D10": ("十",), "D2": ("Zhong Co",)})
    redaction = Redaction("dealer", {"kind": "partner", "id": "D1"}, known)
    texts = {"a": "D1 met D2 and D10, not D21: Zhong Co; 问李威 li; Li Wei is not Lily", "b": "D2"}
    redaction.learn([], json.dumps(texts, ensure_ascii=False))
    shown: Mapping[str, Any] = redaction.apply(texts)
    assert re.sub(r"\[hidden: (\w+) \w+\]", r"<\1>", shown["a"]) == (
        "D1 met <partner> and <partner>, not D21: <partner>; 问<analyst> <analyst>; <analyst> is not Lily"
    )
    assert shown["b"] in shown["a"]


def test_where_evidence_is_changed_its_digests_go_under_every_profile() -> None:
    def shown(approver: str) -> dict[str, Any]:
        row = {"relation": "price_policies", "key": "PP1", "digest": "cd" * 32, "row": {"approved_by": approver}}
        artefact = {"finding": {"evidence_root": "ab" * 32}, "snapshot": {"rows": [row]}}
        redaction = Redaction("court", {"kind": "partner", "id": "D1"}, Known({"user:x": ("legal", ())}))
        redaction.learn([artefact], "user:x")
        found: dict[str, Any] = redaction.apply(artefact)
        return found

    assert "abab" in json.dumps(shown("service:import"))
    text = json.dumps(shown("legal.chen"))
    for gone in ("legal.chen", "abab", "cdcd", "PP1"):
        assert gone not in text, gone


def test_rows_about_others_are_withheld_with_their_codes() -> None:
    def row(relation: str, **values: Any) -> dict[str, Any]:
        return {"relation": relation, "key": f"k{len(values)}", "digest": "ab" * 32, "row": values}

    rows = [
        row("trace_events", epc="box1", source_partner_id="BRAND", destination_partner_id="D1", region_code="R"),
        row("trace_events", epc="box2", source_partner_id="BRAND", destination_partner_id="D2", region_code="R"),
        row("trace_events", epc="unit1", parent_epc="box1"),
        row("trace_events", epc="unit2", parent_epc="box2"),
        row("trace_events", epc="unit2", observer="consumer_scan"),
        row("price_observations", partner_id="D2", price="12.5"),
        row("price_observations", partner_id="D1", price="13.5"),
    ]
    artefact = {"snapshot": {"rows": rows}}
    known = Known({}, {"D1": (), "D2": (), "BRAND": ()}, frozenset({"BRAND"}))
    redaction = Redaction("dealer", {"kind": "partner", "id": "D1"}, known)
    redaction.learn([artefact], json.dumps(artefact))
    shown = redaction.apply(artefact)["snapshot"]["rows"]
    assert shown[0]["row"] == rows[0]["row"]
    assert shown[2]["row"] == rows[2]["row"]
    assert shown[6]["row"] == rows[6]["row"]
    assert all(value.startswith("[hidden") for at in (1, 5) for value in shown[at]["row"].values())
    text = json.dumps(shown)
    for gone in ("box2", "unit2", '"D2"', "12.5", '"k2"', "abab"):
        assert gone not in text, gone
    assert redaction.counts


def test_every_name_is_drawn_with_a_glyph(bundles: Path) -> None:
    # Rare names of people: in the fonts of the region, or said by their number, never an empty box.
    for name in ("𠮷田", "㛃", "䶮", "堃", "喆", "羴", "龘", "𡉏", "Ñandú", "Łódź", "Привет"):
        shown = drawable(name)
        assert shown == name or "〔U+" in shown, name
    assert drawable("𠮷田") == "𠮷田"
    assert drawable("\U0001f4de\ue000") == "〔U+1F4DE〕〔U+E000〕"
    for language in LANGUAGES:
        reader = pypdf.PdfReader(bundles / "auditor" / "data" / f"report-{language}.pdf")
        text = "".join(page.extract_text() for page in reader.pages)
        assert "𠮷田" in text
        assert "〔U+1F4DE〕" in re.sub(r"\s", "", text)
        assert "\ufffd" not in text
        fonts = {
            (str(font["/BaseFont"]), "/FontFile2" in part or "/FontFile3" in part)
            for page in reader.pages
            for each in page["/Resources"]["/Font"].values()
            for font in each.get_object()["/DescendantFonts"]
            for font in [font.get_object()]
            for part in [font["/FontDescriptor"]]
        }
        assert fonts
        assert all(embedded for _, embedded in fonts), fonts
        assert all("NotoSans" in name for name, _ in fonts), fonts
        assert "pdfaid:part" in reader.xmp_metadata.stream.get_data().decode()  # type: ignore[union-attr]
    assert len(font_files()) == 4
    assert all((path.parent / "OFL.txt").is_file() for path in font_files())
