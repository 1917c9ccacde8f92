"""What a document may say and how it becomes rows, one sentence per test."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from lxml import etree

from fangcuan.core.feeds import TRACE_EVENTS
from fangcuan.ingest.base import POSITION, PROBLEMS, Refused
from fangcuan.ingest.epcis import masterdata, reader, rows, vocabulary, xmldoc
from fangcuan.ingest.epcis.identifiers import check_digit, digital_link, gtin_and_lot

EPC = "urn:epc:id:sgtin:4012345.012345.1"
OBJECT = {
    "type": "ObjectEvent",
    "eventID": "urn:uuid:1",
    "eventTime": "2024-03-01T10:00:00.5+08:00",
    "eventTimeZoneOffset": "+08:00",
    "epcList": [EPC],
    "action": "OBSERVE",
    "bizStep": "shipping",
}


def document(*events: dict, **more: object) -> bytes:
    return json.dumps(
        {
            "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"ex": "https://ex.org/"}],
            "type": "EPCISDocument",
            "schemaVersion": "2.0",
            "creationDate": "2024-03-01T10:00:00Z",
            "epcisBody": {"eventList": list(events)},
            **more,
        },
        default=str,
    ).encode()


def read(content: bytes, without_things: rows.WithoutThings = "skip") -> list[dict]:
    parsed = reader.parse(content)
    return [dict(zip(rows.SCHEMA.names, row, strict=True)) for row in rows.rows(parsed, without_things)]


def xml(events: str, version: int = 2, body: str = "<EventList>{}</EventList>") -> bytes:
    return (
        f'<e:EPCISDocument xmlns:e="urn:epcglobal:epcis:xsd:{version}" schemaVersion="{version}.0" '
        f'creationDate="2024-03-01T10:00:00Z"><EPCISBody>{body.format(events)}</EPCISBody></e:EPCISDocument>'
    ).encode()


XML_HEAD = "<eventTime>2024-03-01T10:00:00+08:00</eventTime><eventTimeZoneOffset>+08:00</eventTimeZoneOffset>"
XML_OBJECT = f"<ObjectEvent>{XML_HEAD}<epcList><epc>{EPC}</epc></epcList><action>OBSERVE</action>{{}}</ObjectEvent>"


def test_all_columns_are_text_and_belong_to_the_contract():
    names = set(rows.SCHEMA.names) - {POSITION, PROBLEMS}
    assert names <= set(TRACE_EVENTS.column_names)
    assert set(TRACE_EVENTS.required) <= names
    assert {str(field.type) for field in rows.SCHEMA} == {"string"}


def test_an_observed_thing_is_one_row_with_time_and_offset_as_written():
    (row,) = read(document(OBJECT))
    assert row == {
        **dict.fromkeys(rows.SCHEMA.names),
        "event_id": "urn:uuid:1",
        "item_role": "item",
        "event_time": "2024-03-01T10:00:00.5+08:00",
        "event_time_offset": "+08:00",
        "event_type": "object",
        "action": "OBSERVE",
        "biz_step": "shipping",
        "epc": EPC,
        "quantity": "1",
        "sku": "04012345123456",
        POSITION: "eventList[0]",
    }


def test_children_of_an_aggregation_carry_their_parent_and_the_parent_has_its_row():
    event = {
        **{key: OBJECT[key] for key in ("eventID", "eventTime", "eventTimeZoneOffset", "action")},
        "type": "AggregationEvent",
        "parentID": "urn:epc:id:sscc:4012345.0000000111",
        "childEPCs": [EPC, EPC],
        "childQuantityList": [{"epcClass": "urn:epc:class:lgtin:4012345.012345.L1", "quantity": 2.5, "uom": "KGM"}],
    }
    found = [
        (row["item_role"], row["epc"], row["parent_epc"], row["quantity"], row["unit_of_measure"], row["lot"])
        for row in read(document(event))
    ]
    parent = event["parentID"]
    assert found == [
        ("parent", parent, None, "1", None, None),
        ("child", EPC, parent, "1", None, None),
        ("child", "urn:epc:class:lgtin:4012345.012345.L1", parent, "2.5", "KGM", "L1"),
    ]


def test_a_transformation_has_inputs_and_outputs_and_its_lot_belongs_to_the_outputs():
    event = {
        **{key: OBJECT[key] for key in ("eventTime", "eventTimeZoneOffset")},
        "type": "TransformationEvent",
        "inputEPCList": ["urn:epc:id:sgtin:4012345.012345.1"],
        "outputEPCList": ["urn:epc:id:sgtin:4012345.099999.2"],
        "ilmd": {"cbvmda:lotNumber": "LOT7"},
    }
    found = [(row["item_role"], row["lot"], row["action"]) for row in read(document(event))]
    assert found == [("input", None, None), ("output", "LOT7", None)]


def test_the_owner_is_the_source_before_the_possessor_and_the_place():
    parties = [
        {"type": "location", "source": "urn:epc:id:sgln:4012345.00001.0"},
        {"type": "possessing_party", "source": "urn:epc:id:pgln:4012345.00002"},
        {"type": "owning_party", "source": "urn:epc:id:pgln:4012345.00003"},
    ]
    for count, expected in ((3, parties[2]), (2, parties[1]), (1, parties[0])):
        (row,) = read(document({**OBJECT, "sourceList": parties[:count]}))
        assert row["source_partner_id"] == expected["source"]
        assert row["destination_partner_id"] is None


def test_business_transactions_are_json_with_bare_types():
    given = [{"type": "https://ref.gs1.org/cbv/BTT-po", "bizTransaction": "urn:x:1"}, {"bizTransaction": "urn:x:2"}]
    (row,) = read(document({**OBJECT, "bizTransactionList": given}))
    assert json.loads(row["business_transactions"]) == [
        {"bizTransaction": "urn:x:1", "type": "po"},
        {"bizTransaction": "urn:x:2"},
    ]


def test_a_read_point_in_geo_coordinates_gives_the_place():
    (row,) = read(document({**OBJECT, "readPoint": {"id": "geo:31.23,121.47;u=30"}}))
    assert (row["latitude"], row["longitude"], row["place_source"]) == ("31.23", "121.47", "gps")
    (row,) = read(document({**OBJECT, "readPoint": {"id": "geo:95.0,121.47"}}))
    assert (row["latitude"], row["longitude"], row["place_source"]) == (None, None, None)


def test_an_error_declaration_withdraws_its_own_event_and_names_the_correction():
    declared = {
        **OBJECT,
        "errorDeclaration": {
            "declarationTime": "2024-03-02T00:00:00Z",
            "reason": "incorrect_data",
            "correctiveEventIDs": ["urn:uuid:2"],
        },
    }
    found = [
        (row["event_id"], row["corrects_event_id"])
        for row in read(document(declared, {**OBJECT, "eventID": "urn:uuid:2"}))
    ]
    assert found == [("urn:uuid:1", "urn:uuid:1"), ("urn:uuid:2", "urn:uuid:1")]


def test_a_declaration_without_an_event_id_withdraws_the_event_with_the_same_hash():
    plain = {key: value for key, value in OBJECT.items() if key != "eventID"}
    declared = {**plain, "errorDeclaration": {"declarationTime": "2024-03-02T00:00:00Z"}}
    (first,), (second,) = read(document(plain)), read(document(declared))
    assert first["event_id"] == second["event_id"] == second["corrects_event_id"]
    assert first["corrects_event_id"] is None


@pytest.mark.parametrize(
    ("spelling", "known"),
    [
        ("shipping", True),
        ("cbv:BizStep-shipping", True),
        ("https://ref.gs1.org/cbv/BizStep-shipping", True),
        ("https://ref.gs1.org/cbv/Bizstep-shipping", True),
        ("https://brand.example/steps/blessing", True),
        ("urn:example:step:blessing", True),
        ("blessing", False),
        ("cbv:BizStep-blessing", False),
        ("cbv:Disp-in_transit", False),
        ("https://ref.gs1.org/cbv/BizStep-blessing", False),
        ("Shipping", False),
    ],
)
def test_a_step_that_claims_to_be_standard_and_is_not_quarantines_its_event(spelling, known):
    found = read(document({**OBJECT, "bizStep": spelling}, OBJECT))
    assert len(found) == 2
    assert found[1][PROBLEMS] is None
    if known:
        assert found[0][PROBLEMS] is None
        assert found[0]["biz_step"] == ("shipping" if "hipping" in spelling else spelling)
    else:
        (problem,) = json.loads(found[0][PROBLEMS])
        assert (problem["reason"], problem["column"], problem["value"]) == ("unknown_vocabulary", "biz_step", spelling)


@pytest.mark.parametrize(
    ("field", "value", "column"),
    [
        ("disposition", "lost_at_sea", "disposition"),
        ("persistentDisposition", {"set": ["lost_at_sea"]}, "disposition"),
        ("bizTransactionList", [{"type": "handshake", "bizTransaction": "urn:x:1"}], "business_transactions"),
        ("sourceList", [{"type": "friend", "source": "urn:x:1"}], "source_partner_id"),
    ],
)
def test_other_vocabulary_that_claims_to_be_standard_quarantines_its_event_too(field, value, column):
    (row,) = read(document({**OBJECT, field: value}))
    assert [problem["column"] for problem in json.loads(row[PROBLEMS])] == [column]


def test_urn_spelling_is_normalised_in_xml_and_refused_in_json():
    urn = "urn:epcglobal:cbv:bizstep:shipping"
    (row,) = read(xml(XML_OBJECT.format(f"<bizStep>{urn}</bizStep>")))
    assert row["biz_step"] == "shipping"
    with pytest.raises(Refused, match="bare word"):
        read(document({**OBJECT, "bizStep": urn}))


def test_an_event_without_things_is_left_out_or_quarantined_as_asked():
    event = {**OBJECT, "epcList": []}
    assert read(document(event)) == []
    (row,) = read(document(event), "quarantine")
    assert row["epc"] is None
    assert json.loads(row[PROBLEMS])[0]["column"] == "epc"


def test_an_event_of_an_own_type_is_quarantined_not_lost():
    event = {**{key: OBJECT[key] for key in ("eventTime", "eventTimeZoneOffset")}, "type": "ex:BlessingEvent"}
    (row,) = read(document(event))
    assert json.loads(row[PROBLEMS])[0]["reason"] == "unknown_event_type"


def test_a_class_listed_twice_in_one_unit_is_added_and_in_two_units_quarantined():
    lot = "urn:epc:class:lgtin:4012345.012345.L1"
    one = {"epcClass": lot, "quantity": 2, "uom": "KGM"}
    (row,) = read(document({**OBJECT, "epcList": [], "quantityList": [one, {**one, "quantity": 1.5}]}))
    assert (row["quantity"], row[PROBLEMS]) == ("3.5", None)
    (row,) = read(document({**OBJECT, "epcList": [], "quantityList": [one, {**one, "uom": "LTR"}]}))
    assert json.loads(row[PROBLEMS])[0]["reason"] == "duplicate"


@pytest.mark.parametrize(
    ("event", "position"),
    [
        ({**OBJECT, "action": "MOVE"}, "eventList[1].action"),
        ({**OBJECT, "eventTime": "2024-03-01T10:00:00"}, "eventList[1].eventTime"),
        ({**OBJECT, "eventTime": "2024-02-30T10:00:00Z"}, "eventList[1].eventTime"),
        ({**OBJECT, "eventTimeZoneOffset": "+8"}, "eventList[1].eventTimeZoneOffset"),
        ({**OBJECT, "epcList": ["plain"]}, "eventList[1].epcList[0]"),
        ({**OBJECT, "epcList": [EPC, EPC]}, "eventList[1].epcList"),
        ({**OBJECT, "childEPCs": [EPC]}, "eventList[1].childEPCs"),
        ({**OBJECT, "epcLst": [EPC]}, "eventList[1].epcLst"),
        ({**OBJECT, "quantityList": [{"epcClass": EPC, "quantity": "2"}]}, "eventList[1].quantityList[0].quantity"),
        ({**OBJECT, "quantityList": [{"epcClass": EPC, "uom": "kilo"}]}, "eventList[1].quantityList[0].uom"),
        ({**OBJECT, "errorDeclaration": {}}, "eventList[1].errorDeclaration"),
        ({**OBJECT, "sourceList": [{"source": "urn:x:1"}]}, "eventList[1].sourceList[0]"),
        ({key: value for key, value in OBJECT.items() if key != "epcList"}, "eventList[1]"),
        ({**OBJECT, "type": "AssociationEvent"}, "eventList[1]"),
    ],
)
def test_a_document_that_breaks_the_structure_is_refused_with_its_position(event, position):
    with pytest.raises(Refused) as refused:
        read(document(OBJECT, event))
    assert refused.value.reason == "schema"
    assert refused.value.position == position or (refused.value.position or "").startswith(position)


def test_a_single_event_with_a_context_is_a_document():
    event = {**OBJECT, "@context": "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"}
    (row,) = read(json.dumps(event).encode())
    assert row[POSITION] == "event"
    with pytest.raises(Refused, match="@context"):
        read(json.dumps(OBJECT).encode())


def test_xml_1_2_extensions_are_unfolded():
    event = f"""<AggregationEvent>
      <eventTime>2024-03-01T10:00:00Z</eventTime><eventTimeZoneOffset>+00:00</eventTimeZoneOffset>
      <baseExtension><eventID>urn:uuid:9</eventID></baseExtension><parentID>urn:x:p</parentID><childEPCs/>
      <action>ADD</action><extension><childQuantityList><quantityElement><epcClass>urn:x:c</epcClass>
      <quantity>5</quantity></quantityElement></childQuantityList></extension></AggregationEvent>
      <extension><TransformationEvent>{XML_HEAD}<inputEPCList><epc>urn:x:i</epc></inputEPCList>
      </TransformationEvent></extension>"""
    found = [(row["event_id"][:10], row["item_role"], row["epc"], row["quantity"]) for row in read(xml(event, 1))]
    assert found == [
        ("urn:uuid:9", "parent", "urn:x:p", "1"),
        ("urn:uuid:9", "child", "urn:x:c", "5"),
        ("ni:///sha-", "input", "urn:x:i", "1"),
    ]


def test_the_quantity_event_of_epcis_1_is_an_observation_of_a_class():
    event = f"<QuantityEvent>{XML_HEAD}<epcClass>urn:x:c</epcClass><quantity>12</quantity></QuantityEvent>"
    (row,) = read(xml(event, 1))
    assert (row["event_type"], row["action"], row["epc"], row["quantity"]) == ("object", "OBSERVE", "urn:x:c", "12")


def test_a_time_without_a_zone_refuses_xml_2_and_quarantines_the_event_in_xml_1_2():
    event = XML_OBJECT.format("").replace("T10:00:00+08:00", "T10:00:00")
    with pytest.raises(Refused, match="zone"):
        read(xml(event))
    (row,) = read(xml(event, 1))
    assert json.loads(row[PROBLEMS])[0]["column"] == "event_time"


def test_elements_out_of_order_are_refused_in_xml():
    event = XML_OBJECT.format("<disposition>urn:x:d</disposition><bizStep>urn:x:b</bizStep>")
    with pytest.raises(Refused) as refused:
        read(xml(event))
    assert refused.value.position == "EPCISBody.EventList.ObjectEvent[0]"


def test_a_query_document_in_xml_gives_its_events():
    content = (
        '<q:EPCISQueryDocument xmlns:q="urn:epcglobal:epcis-query:xsd:2" schemaVersion="2.0" '
        'creationDate="2024-03-01T10:00:00Z"><EPCISBody><q:QueryResults><queryName>SimpleEventQuery</queryName>'
        f"<resultsBody><EventList>{XML_OBJECT.format('')}</EventList></resultsBody></q:QueryResults></EPCISBody>"
        "</q:EPCISQueryDocument>"
    )
    assert [row["epc"] for row in read(content.encode())] == [EPC]


def test_master_data_of_json_and_xml_become_partners_and_products():
    listed = [
        {
            "type": "urn:epcglobal:epcis:vtype:BusinessLocation",
            "vocabularyElementList": [
                {
                    "id": "urn:epc:id:sgln:0614141.00001.0",
                    "attributes": [
                        {"id": "urn:epcglobal:cbv:mda:name", "attribute": "Nanjing warehouse"},
                        {"id": "urn:epcglobal:cbv:mda:countryCode", "attribute": "CN"},
                    ],
                    "children": ["urn:epc:id:sgln:0614141.00001.7"],
                },
                {"id": "urn:epc:id:sgln:0614141.00001.7"},
            ],
        },
        {
            "type": "urn:epcglobal:epcis:vtype:EPCClass",
            "vocabularyElementList": [
                {
                    "id": "urn:epc:idpat:sgtin:4012345.012345.*",
                    "attributes": [{"id": "cbvmda:descriptionShort", "attribute": "Milk powder"}],
                }
            ],
        },
    ]
    header = {"epcisMasterData": {"vocabularyList": listed}}
    parsed = reader.parse(document(OBJECT, epcisHeader=header))
    partners, products = masterdata.chunks(parsed.vocabularies, 100)
    assert (partners.relation, products.relation) == ("partners", "products")
    first, second = partners.table.to_pylist()
    assert (first["name"], first["gln"], first["region_code"]) == ("Nanjing warehouse", "0614141000012", "CN")
    assert second["parent_id"] == first["partner_id"]
    (product,) = products.table.to_pylist()
    assert (product["gtin"], product["name"]) == ("04012345123456", "Milk powder")

    vocabularies = "".join(
        f'<Vocabulary type="{one["type"]}"><VocabularyElementList>'
        + "".join(
            f'<VocabularyElement id="{element["id"]}">'
            + "".join(f'<attribute id="{a["id"]}">{a["attribute"]}</attribute>' for a in element.get("attributes", ()))
            + (f"<children><id>{element['children'][0]}</id></children>" if "children" in element else "")
            + "</VocabularyElement>"
            for element in one["vocabularyElementList"]
        )
        + "</VocabularyElementList></Vocabulary>"
        for one in listed
    )
    content = (
        '<m:EPCISMasterDataDocument xmlns:m="urn:epcglobal:epcis-masterdata:xsd:2" schemaVersion="2.0" '
        f'creationDate="2024-03-01T10:00:00Z"><EPCISBody><VocabularyList>{vocabularies}</VocabularyList></EPCISBody>'
        "</m:EPCISMasterDataDocument>"
    )
    from_xml = list(masterdata.chunks(xmldoc.read(content.encode()).vocabularies, 100))
    assert [chunk.table.to_pylist() for chunk in from_xml] == [partners.table.to_pylist(), products.table.to_pylist()]


def test_sensor_data_of_both_syntaxes_is_read_past():
    sensors = [{"sensorReport": [{"type": "Temperature", "value": 21.5, "uom": "CEL"}]}]
    (row,) = read(document({**OBJECT, "sensorElementList": sensors, "certificationInfo": "https://ex.org/c"}))
    assert row[PROBLEMS] is None
    report = '<sensorReport type="gs1:Temperature" value="21.5"/>'
    inside = f"<sensorElementList><sensorElement>{report}</sensorElement></sensorElementList>"
    (row,) = read(xml(XML_OBJECT.format(inside)))
    assert row[PROBLEMS] is None


@pytest.mark.parametrize(
    ("uri", "link"),
    [
        ("urn:epc:id:sgtin:0614141.107346.2017", "https://id.gs1.org/01/10614141073464/21/2017"),
        ("urn:epc:id:sgln:0614141.07346.0", "https://id.gs1.org/414/0614141073467"),
        ("urn:epc:idpat:sgtin:4012345.*.*", "urn:epc:idpat:sgtin:4012345.*.*"),
        ("urn:epc:id:sgtin:4012345.1.1", "urn:epc:id:sgtin:4012345.1.1"),
        ("urn:epc:id:giai:4012345.", "urn:epc:id:giai:4012345."),
        ("https://shop.example.cn/p/01/04012345123456/10/L%2F1/21/9?k=v", "https://id.gs1.org/01/04012345123456/21/9"),
        ("https://shop.example.cn/01/123", "https://shop.example.cn/01/123"),
        ("https://shop.example.cn/", "https://shop.example.cn/"),
        ("urn:uuid:1", "urn:uuid:1"),
        ("", ""),
    ],
)
def test_identifiers_have_one_canonical_link_or_stay(uri, link):
    assert digital_link(uri) == link
    assert digital_link(link) == link


def test_check_digits_and_lots():
    assert check_digit("629104150021") == "3"
    assert gtin_and_lot("urn:epc:class:lgtin:4012345.012345.A%2F1") == ("04012345123456", "A/1")
    assert gtin_and_lot("urn:epc:id:sscc:4012345.0000000111") == (None, None)


def test_vocabularies_have_the_members_of_cbv_2_0():
    counts = {family: len(words) for family, words in vocabulary.WORDS.items()}
    assert counts == {
        "bizStep": 41,
        "disposition": 33,
        "bizTransactionType": 13,
        "sourceDestType": 3,
        "errorReason": 2,
        "component": 14,
    }


def test_quantities_keep_their_digits():
    amount = Decimal("0.1000000000000000055")
    content = document({**OBJECT, "epcList": [], "quantityList": [{"epcClass": EPC, "quantity": 777}]})
    (row,) = read(content.replace(b"777", str(amount).encode()))
    assert row["quantity"] == str(amount)


def test_xml_of_another_encoding_is_read_by_its_declaration():
    content = xml(XML_OBJECT.format('<n:note xmlns:n="urn:n:">防窜</n:note>')).decode()
    for encoding in ("utf-8", "gb18030", "utf-16"):
        encoded = f'<?xml version="1.0" encoding="{encoding}"?>{content}'.encode(encoding)
        assert [row["epc"] for row in read(encoded)] == [EPC]
    assert etree.fromstring(content.encode()).tag.endswith("EPCISDocument")
