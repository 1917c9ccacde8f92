"""Our verdicts against those of the official schemas, on thousands of damaged official documents.

The JSON schema has two readings: `format` as a mere remark (then a field name is never wrong), or as a rule (then some
of the standard's own examples are wrong). Ours must lie between: it refuses what the loose reading refuses and accepts
what the strict reading accepts. The XSD has one reading.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator, FormatChecker
from lxml import etree

from fangcuan.ingest.base import Refused
from fangcuan.ingest.epcis import jsondoc, xmldoc

pytestmark = pytest.mark.real_data
SEED = 20240601

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")
_TIME = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)"
)


def _formats() -> FormatChecker:
    checker = FormatChecker(formats=())
    checker.checks("uri")(lambda value: not isinstance(value, str) or bool(_URI.fullmatch(value)))
    checker.checks("date-time")(lambda value: not isinstance(value, str) or bool(_TIME.fullmatch(value)))
    return checker


def _accepts(read, content: bytes) -> bool:
    try:
        read(content)
    except Refused:
        return False
    return True


def _json_documents(official: dict[str, Path]) -> list:
    found = [json.loads(path.read_bytes()) for path in official.values() if path.suffix != ".xml"]
    assert len(found) == 94
    return found


def test_json_verdicts_lie_between_the_two_readings_of_the_official_schema(
    gs1, official, damaged_json, record_property
):
    schema = json.loads((gs1 / "EPCIS-JSON-Schema.json").read_bytes())
    loose, strict = Draft7Validator(schema), Draft7Validator(schema, format_checker=_formats())
    documents = _json_documents(official)
    generator = random.Random(SEED)
    counts = {"all": 0, "loose": 0, "strict": 0, "accepted": 0}
    wrong = []
    for _ in range(2500):
        damaged = damaged_json(generator.choice(documents), generator)
        ours = _accepts(jsondoc.read, json.dumps(damaged).encode())
        by_loose, by_strict = loose.is_valid(damaged), strict.is_valid(damaged)
        counts["all"] += 1
        counts["accepted"] += ours
        counts["loose"] += ours == by_loose
        counts["strict"] += ours == by_strict
        if (ours and not by_loose) or (by_strict and not ours):
            wrong.append((ours, by_loose, by_strict, damaged))
    for name, count in counts.items():
        record_property(name, count)
    print(counts)
    assert not wrong, f"{len(wrong)} verdicts outside: {json.dumps(wrong[0], ensure_ascii=False)[:1500]}"


def test_xml_verdicts_are_those_of_the_official_xsd(gs1, official, damaged_xml, record_property):
    schemas = {
        "urn:epcglobal:epcis:xsd:2": etree.XMLSchema(etree.parse(gs1 / "XSD" / "EPCglobal-epcis-2_0.xsd")),
        "urn:epcglobal:epcis:xsd:1": etree.XMLSchema(etree.parse(gs1 / "XML-1.2" / "XSD" / "EPCglobal-epcis-1_2.xsd")),
    }
    roots = [etree.parse(path).getroot() for path in official.values() if path.suffix == ".xml"]
    roots = [root for root in roots if etree.QName(root).namespace in schemas]
    assert len(roots) == 40
    generator = random.Random(SEED)
    same, total, accepted, wrong = 0, 0, 0, []
    for _ in range(2500):
        damaged = damaged_xml(generator.choice(roots), generator)
        content = etree.tostring(damaged, encoding="utf-8")
        namespace = etree.QName(damaged).namespace
        if namespace not in schemas:
            continue
        theirs = schemas[namespace].validate(etree.fromstring(content))
        ours = _accepts(xmldoc.read, content)
        total, same, accepted = total + 1, same + (ours == theirs), accepted + ours
        if ours != theirs:
            error = schemas[namespace].error_log
            wrong.append((ours, theirs, str(error[0].message) if not theirs else "", content.decode()))
    record_property("agreement", same / total)
    print(same, total, accepted)
    for ours, _, message, _ in wrong:
        print(ours, message)
    assert same / total > 0.99, wrong[0]
