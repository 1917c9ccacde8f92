"""The report of a case as PDF/A, in Chinese and English, drawn from the same data as its page."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from fangcuan.cases import workflow as workflows
from fangcuan.cases.letters.rendering import words as words_of_letters
from fangcuan.cases.penalties.wording import claimed_words, told_lines

LANGUAGES = ("zh", "en")
#: PDF/A-2a for the archive, PDF/UA-1 for readers who listen. The compiler checks both while it writes, and fails otherwise.
STANDARDS: tuple[Literal["a-2a"], Literal["ua-1"]] = ("a-2a", "ua-1")
#: The first has nearly everything a Chinese name needs; the others are asked for what it lacks.
FAMILIES = ("Noto Sans SC", "Noto Sans TC", "Noto Sans JP", "Noto Sans KR")
#: Evidence rows drawn per finding; all of them are in case.json.
ROWS = 30
_LONG = re.compile(r"[!-~]{25,}")
_ZERO_WIDTH = "\u200b"


def draw(case: Mapping[str, Any], redacted: Mapping[str, Any], language: str, made_at: dt.datetime) -> bytes:
    """The PDF. `case` is the page of the case (`cases.views.show_case`) with what is hidden already hidden."""
    import typst

    data = prepared(case, redacted, language, made_at)
    compiler = typst.Compiler(
        resources.files("fangcuan.cases.export").joinpath("report.typ").read_bytes(),
        font_paths=_fonts(),
        ignore_system_fonts=True,
        sys_inputs={"data": json.dumps(data, ensure_ascii=False)},
    )
    pdf = compiler.compile(format="pdf", pdf_standards=[*STANDARDS], timestamp=int(made_at.timestamp()))
    assert isinstance(pdf, bytes)
    return pdf


def prepared(
    case: Mapping[str, Any], redacted: Mapping[str, Any], language: str, made_at: dt.datetime
) -> dict[str, Any]:
    """What the template draws: words of the language, and values as text that the fonts can draw."""
    words = _words()[language]
    status = workflows.default().statuses[case["status"]].label.model_dump()[language]
    subject = case["subject"]
    facts: list[tuple[str, Any]] = [
        ("family", words["families"].get(case["family"], case["family"])),
        ("subject", f"{words['subjects'].get(subject['kind'], subject['kind'])} {subject['id']}"),
        ("product", " / ".join(str(case[name]) for name in ("product_line", "sku") if case[name]) or None),
        ("period", case["period"]),
        ("status", status),
        ("outcome", _said(case["outcome"], words, language)),
        ("severity", words["severities"].get(case["severity"], case["severity"])),
        ("assignee", case["assignee"]),
        ("window", f"{_moment(case['window']['start'])} – {_moment(case['window']['end'])}"),
        ("nights", f"{case['opened_night']} – {case['last_finding_night']}"),
        ("links", ", ".join(link["number"] for link in case["links"]) or None),
        ("evidence_root", case["evidence_root"]),
    ]
    return _drawable(
        {
            "language": language,
            "fonts": FAMILIES,
            "words": words,
            "number": case["number"],
            "made": _moment(made_at.astimezone(dt.UTC).isoformat()),
            "profile": redacted["title"][language],
            "facts": [[words["facts"][name], str(value)] for name, value in facts if value is not None],
            "findings": [_finding(one, words, language) for one in case["findings_detail"]],
            "comments": [_comment(one, words) for one in case["comments"]],
            "proposals": [_proposal(one, words, language) for one in case["proposals"]],
            "attachments": [_attachment(one, redacted["attachments"], words) for one in case["attachments"]],
            "holds": [[one["placed_at"][:10], str(one["placed_by"]), str(one["note"])] for one in case["legal_holds"]],
            "penalties": [_penalty(one, words, language) for one in case["penalties"]],
            "timeline": [_entry(one, words, language) for one in case["timeline"]],
            "hidden": [[where, str(count)] for where, count in _by_field(redacted["counts"])],
        }
    )


def _finding(one: Mapping[str, Any], words: Mapping[str, Any], language: str) -> dict[str, Any]:
    rows = one["evidence"].get("rows", ())
    quantity = one["quantity"]
    if quantity is not None and one["quantity_low"] is not None:
        quantity = f"{quantity} ({one['quantity_low']} – {one['quantity_high']})"
    money = None if one["money"] is None else f"{one['money']} {one['currency'] or ''}".strip()
    facts = (
        ("nights_seen", ", ".join(each["night"] for each in one["occurrences"])),
        ("score", one["score"]),
        ("probability", one["probability"]),
        ("quantity", quantity),
        ("money", money),
        ("unit", one["unit_digest"]),
        ("evidence", one["evidence_sha256"]),
    )
    return {
        "unit": one["unit_id"],
        "sentence": one["explanation"][language],
        "facts": [[words["facts"][name], str(value)] for name, value in facts if value is not None],
        "rows": [_row(row) for row in rows[:ROWS]],
        "more": words["more"].format(count=len(rows) - ROWS) if len(rows) > ROWS else None,
        "problem": one["evidence"].get("problem"),
    }


def _row(row: Mapping[str, Any]) -> list[str]:
    values = (f"{name} {value}" for name, value in row["row"].items() if value is not None)
    return [row["relation"], "; ".join(values)]


def _comment(one: Mapping[str, Any], words: Mapping[str, Any]) -> list[str]:
    amends = f" ({words['amends']} {one['amends']})" if one["amends"] else ""
    return [f"{one['comment']}{amends}", str(one["author"]), str(one["text"])]


def _proposal(one: Mapping[str, Any], words: Mapping[str, Any], language: str) -> list[str]:
    params = one["params"]
    coded = (_said(params.get(name), words, language) for name in ("reason", "outcome", "class"))
    said = (*coded, params.get("into"), params.get("amount"), params.get("note"))
    verdict = words["verdicts"].get(one["verdict"], one["verdict"])
    decided = f"{verdict}, {one['decided_by']}, {_moment(one['decided_at'])}" if one["verdict"] else "–"
    proposed = f"{one['proposed_by']}, {_moment(one['proposed_at'])}"
    grounds = "; ".join(str(value) for value in said if value)
    ends = "; ".join(text for text in (decided, one["decision_note"]) if text)
    return [words["kinds"].get(one["kind"], one["kind"]), proposed, grounds, ends]


def _said(code: str | None, words: Mapping[str, Any], language: str) -> str | None:
    """An outcome, reason or class in words; the code itself where there are none."""
    if code is None:
        return None
    letters = words_of_letters()["outcomes"].get(code, {}).get(language)
    return str(words["classes"].get(code) or letters or words["grounds_of"].get(code) or code)


def _penalty(one: Mapping[str, Any], words: Mapping[str, Any], language: str) -> dict[str, Any]:
    label = workflows.default().penalty_statuses[one["status"]].label.model_dump()[language]
    facts = [
        (words["facts"][name], claimed_words(one[name], one["currency"], language))
        for name in ("claimed", "due", "settled")
        if one[name] is not None
    ]
    said = words_of_letters()["appeals"]
    appeals = [
        [f"{each['appealed_by']}, {_moment(each['appealed_at'])}", said[each["reason"]][language], str(each["text"])]
        for each in one["appeals"]
    ]
    title = f"{one['penalty']}: {label}"
    return {"title": title, "lines": told_lines(one["computation"], language), "facts": facts, "appeals": appeals}


def _attachment(one: Mapping[str, Any], shown: str, words: Mapping[str, Any]) -> list[str]:
    withheld = f" ({words['withheld']})" if shown == "withhold" else ""
    return [one["kind"], f"{one['name']}{withheld}", str(one["attached_by"]), one["sha256"]]


def _entry(one: Mapping[str, Any], words: Mapping[str, Any], language: str) -> list[str]:
    before, after = one["data"].get("before") or {}, one["data"].get("after") or {}
    labels = {name: each.label.model_dump()[language] for name, each in workflows.default().statuses.items()}
    steps = [labels.get(str(side.get("status")), "–") for side in (before, after)]
    moved = "status" in before and f"{steps[0]} → {steps[1]}"
    held = "assignee" in after and "assignee" in before and f"{before['assignee'] or '–'} → {after['assignee'] or '–'}"
    found = "findings" in one["data"] and words["found"].format(count=len(one["data"]["findings"]))
    params = one["data"].get("params") or {}
    said = "; ".join(
        str(value) for name, value in sorted(params.items()) if value and name in ("reason", "outcome", "note")
    )
    details = "; ".join(text for text in (moved, held, found, said) if text)
    return [str(one["seq"]), _moment(one["recorded_at"]), one["kind"], str(one["actor"]), details]


def _by_field(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Counts of hidden places by field: the last part of its path."""
    found: dict[str, int] = {}
    for where, count in counts.items():
        name = where.rpartition(".")[2]
        found[name] = found.get(name, 0) + count
    return sorted(found.items())


def _moment(text: str) -> str:
    return f"{text[:10]} {text[11:19]} UTC" if len(text) > 10 else text


def _drawable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _drawable(item) for name, item in value.items()}
    if isinstance(value, str):
        return drawable(value)
    if isinstance(value, Sequence):
        return [_drawable(item) for item in value]
    return value


def drawable(text: str) -> str:
    """The text with places to break long codes at, and with 〔U+20BB7〕 where no font has the character."""
    known = _characters()
    shown = "".join(c if ord(c) in known else " " if c.isspace() else f"〔U+{ord(c):04X}〕" for c in text)
    return _LONG.sub(lambda match: _ZERO_WIDTH.join(re.findall(".{1,10}", match[0])), shown)


@cache
def font_files() -> tuple[Path, ...]:
    """The font files, in the order of FAMILIES."""
    folder = Path(str(resources.files("justmytype_intl_cjk") / "fonts" / "ofl"))
    return tuple(
        path for family in FAMILIES for path in sorted((folder / family.lower().replace(" ", "")).glob("*.ttf"))
    )


@cache
def _fonts() -> Any:
    import typst

    folders = [str(path.parent) for path in font_files()]
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=folders)


@cache
def _characters() -> frozenset[int]:
    from fontTools.ttLib import TTFont

    found: set[int] = set()
    for path in font_files():
        with TTFont(path, lazy=True) as font:
            found |= font.getBestCmap().keys()
    return frozenset(found)


@cache
def _words() -> dict[str, Any]:
    text = resources.files("fangcuan.cases.export").joinpath("report_words.yml").read_text(encoding="utf-8")
    words: dict[str, Any] = yaml.safe_load(text)
    return words
