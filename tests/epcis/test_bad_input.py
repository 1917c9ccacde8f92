"""Hostile and broken input: refused with a reason, in bounded time and memory, and never anything else than Refused."""

from __future__ import annotations

import gzip
import json
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from fangcuan.ingest.base import Refused
from fangcuan.ingest.epcis import reader, rows
from fangcuan.ingest.epcis.document import Limits

EVENT = (
    '{"type":"ObjectEvent","eventTime":"2024-03-01T10:00:00Z","eventTimeZoneOffset":"+00:00",'
    '"epcList":["urn:x:1"],"action":"ADD","ex:more":MORE}'
)
JSON = (
    '{"@context":{"ex":"https://ex.org/"},"type":"EPCISDocument","schemaVersion":"2.0",'
    '"creationDate":"2024-03-01T10:00:00Z","epcisBody":{"eventList":[' + EVENT + "]}}"
)
XML = (
    '<e:EPCISDocument xmlns:e="urn:epcglobal:epcis:xsd:2" xmlns:x="urn:x" schemaVersion="2.0" '
    'creationDate="2024-03-01T10:00:00Z"><EPCISBody><EventList><ObjectEvent><eventTime>2024-03-01T10:00:00Z</eventTime>'
    "<eventTimeZoneOffset>+00:00</eventTimeZoneOffset><epcList><epc>EPC</epc></epcList><action>ADD</action>MORE"
    "</ObjectEvent></EventList></EPCISBody></e:EPCISDocument>"
)
GOOD_JSON = JSON.replace("MORE", "1").encode()
GOOD_XML = XML.replace("EPC<", "urn:x:1<").replace("MORE", "").encode()
BILLION = (
    '<!DOCTYPE a [<!ENTITY l "lol">'
    + "".join(
        f'<!ENTITY l{n} "{"&l" + str(n - 1) * (n > 1) + ";"}{"&l" + str(n - 1) * (n > 1) + ";"}">' for n in range(1, 30)
    )
    + "]>"
)


def outcome(content: bytes) -> str:
    """`loaded`, or the reason of the refusal; anything else escapes and fails the test."""
    try:
        document = reader.parse(content)
        for row in rows.rows(document, "quarantine"):
            assert len(row) == len(rows.SCHEMA.names)
            for value in row:
                if value is not None:
                    value.encode()
    except Refused as refused:
        return refused.reason if refused.message else "a refusal that does not say why"
    return "loaded"


def test_the_undamaged_documents_load():
    assert outcome(GOOD_JSON) == outcome(GOOD_XML) == "loaded"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GOOD_JSON[:-40], "truncated"),
        (GOOD_JSON[:200], "truncated"),
        (GOOD_JSON.replace(b'"action"', b"action"), "unreadable"),
        (JSON.replace("MORE", '"防窜"').encode("gb18030"), "wrong_encoding"),
        (GOOD_JSON.decode().encode("utf-16-be"), "unreadable"),
        (JSON.replace("MORE", "NaN").encode(), "unreadable"),
        (JSON.replace("MORE", "1e999999999").encode(), "unreadable"),
        (JSON.replace("MORE", "9" * 5000).encode(), "unreadable"),
        (JSON.replace("MORE", '"\\ud800"').encode(), "wrong_encoding"),
        (JSON.replace("MORE", '"\\u0000"').encode(), "wrong_encoding"),
        (JSON.replace("MORE", '1,"action":"OBSERVE"').encode(), "duplicate_key"),
        (JSON.replace("MORE", "[" * 200 + "]" * 200).encode(), "schema"),
        (JSON.replace("MORE", "[" * 100_000 + "]" * 100_000).encode(), "too_deep"),
        (b"[" * 1_000_000, "too_deep"),
        (b"[]", "schema"),
        (b'{"type":"EPCISDocument"}', "schema"),
        (b'{"type":["EPCISDocument"]}', "schema"),
        (b"event_id,epc\n1,2\n", "unreadable"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "wrong_encoding"),
        (GOOD_XML[:-30], "truncated"),
        (GOOD_XML[:300], "truncated"),
        (GOOD_XML.replace(b"<action>", b"<acton>"), "unreadable"),
        (GOOD_XML.replace(b"EPCISDocument", b"Invoice"), "schema"),
        (b'<?xml version="1.0" encoding="no-such"?>' + GOOD_XML, "wrong_encoding"),
        (b'<?xml version="1.0" encoding="zlib_codec"?>' + GOOD_XML, "wrong_encoding"),
        (GOOD_XML.replace(b"urn:x:1", b"urn:x:\xff"), "wrong_encoding"),
        (XML.replace("MORE", "<x:a>" * 200 + "</x:a>" * 200).encode(), "schema"),
        (XML.replace("MORE", "<x:a>" * 5000 + "</x:a>" * 5000).encode(), "unreadable"),
    ],
)
def test_a_broken_document_is_refused_with_its_reason(content, reason):
    assert outcome(content) == reason


@pytest.mark.parametrize(
    "doctype",
    [
        BILLION,
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd">',
        '<!DOCTYPE a PUBLIC "-//X" "http://127.0.0.1:9/x.dtd">',
        "<!-- c --><!DOCTYPE a [<!ELEMENT a ANY>]>",
        "<!DOCTYPE a><!DOCTYPE b [<!ENTITY x 'y'>]>",
    ],
)
def test_entities_and_outside_document_types_are_refused_unresolved(doctype):
    epc = "&x;" if "ENTITY x" in doctype else "&l29;" if doctype is BILLION else "urn:x:1"
    started = time.monotonic()
    for encoding in ("utf-8", "utf-16"):
        body = XML.replace("EPC<", f"{epc}<").replace("MORE", "")
        content = f'<?xml version="1.0" encoding="{encoding}"?>{doctype}{body}'.encode(encoding)
        assert outcome(content) == "doctype"
    assert time.monotonic() - started < 2


def test_a_bare_document_type_is_harmless():
    assert outcome(b"<!DOCTYPE project>" + GOOD_XML) == "loaded"


def test_an_undeclared_entity_is_refused():
    assert outcome(GOOD_XML.replace(b"urn:x:1", b"&nope;")) == "unreadable"


def read_file(path: Path, **limits: int) -> int:
    return sum(chunk.table.num_rows for chunk in reader.read(path, 10, limits=Limits(**limits)))


def test_gzip_is_read_by_its_content_and_members_are_joined(tmp_path):
    path = tmp_path / "events.json"
    path.write_bytes(gzip.compress(GOOD_JSON[:100]) + gzip.compress(GOOD_JSON[100:]))
    assert read_file(path) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(GOOD_JSON, mtime=0)[:-12], "truncated"),
        (gzip.compress(GOOD_JSON, mtime=0)[:12] + b"\0" * 40, "unreadable"),
        (gzip.compress(GOOD_JSON, mtime=0) + b"garbage", "unreadable"),
        (b"", "empty"),
        (b" \n\t ", "empty"),
        (gzip.compress(b"", mtime=0), "empty"),
    ],
)
def test_damaged_or_empty_files_are_refused(tmp_path, content, reason):
    path = tmp_path / "events.json.gz"
    path.write_bytes(content)
    with pytest.raises(Refused) as refused:
        read_file(path)
    assert refused.value.reason == reason


def test_a_bomb_is_refused_before_it_unfolds(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=9) as stream:
        for _ in range(64):
            stream.write(b" " * (1 << 20))
    for limits in ({"max_ratio": 200}, {"max_bytes": 1 << 20}):
        with pytest.raises(Refused) as refused:
            read_file(path, **limits)
        assert refused.value.reason == "too_large"


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path):
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        stream.write(b'{"type":"')
        stream.truncate(10 << 30)
    started = time.monotonic()
    with pytest.raises(Refused) as refused:
        read_file(path)
    assert refused.value.reason == "too_large"
    assert time.monotonic() - started < 1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_loaded_or_refused(content):
    outcome(content)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    (
        *("type", "eventTime", "eventTimeZoneOffset", "action", "bizStep", "@context"),
        *("epcList", "childEPCs", "parentID", "inputEPCList", "quantityList", "outputQuantityList"),
        *("readPoint", "sourceList", "bizTransactionList", "sensorElementList"),
        *("ilmd", "errorDeclaration", "persistentDisposition"),
    )
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(FIELDS, VALUES, max_size=4))
def test_any_values_in_an_event_are_loaded_or_refused(fields):
    document = json.loads(GOOD_JSON)
    document["epcisBody"]["eventList"][0].update(fields)
    outcome(json.dumps(document).encode("utf-8", "surrogatepass"))


@pytest.mark.real_data
def test_damaged_official_documents_are_loaded_or_refused(official, damaged_json, damaged_xml):
    generator = random.Random(99)
    documents = [json.loads(path.read_bytes()) for path in official.values() if path.suffix != ".xml"]
    roots = [etree.parse(str(path)).getroot() for path in official.values() if path.suffix == ".xml"]
    seen: dict[str, int] = {}
    until = time.monotonic() + 20
    tried = 0
    while tried < 3000 and time.monotonic() < until:
        if tried % 2:
            content = json.dumps(damaged_json(damaged_json(generator.choice(documents), generator), generator)).encode()
        else:
            content = etree.tostring(damaged_xml(damaged_xml(generator.choice(roots), generator), generator))
        if tried % 5 == 0:
            damaged = bytearray(content)
            for _ in range(3):
                damaged[generator.randrange(len(damaged))] = generator.randrange(256)
            content = bytes(damaged)
        found = outcome(content)
        seen[found] = seen.get(found, 0) + 1
        tried += 1
    assert tried > 500
    assert seen["loaded"] > tried / 20
    assert seen["schema"] > tried / 20
