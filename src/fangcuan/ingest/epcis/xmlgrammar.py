"""Content models of EPCIS 1.2 and 2.0 XML documents (section 9.5 of each): header, master data, events, query results."""

from __future__ import annotations

from fangcuan.ingest.epcis.xmlevents import EVENTS, OPEN
from fangcuan.ingest.epcis.xmlmodel import (
    ANYTHING,
    ELEMENTS,
    TEXT,
    URI,
    Model,
    Part,
    any_text,
    any_uri,
    boolean,
    date_time,
    decimal,
    integer,
    stamp,
    words,
)

_VOCABULARY_ELEMENT = Model(
    parts=(
        Part(
            "attribute",
            Model(anything=True, attributes={"id": any_uri}, required=("id",), any_attribute=True),
            most=None,
        ),
        Part("children", Model(parts=(Part("id", URI, most=None),), any_attribute=True)),
        Part("extension", ELEMENTS),
    ),
    any_other=True,
    any_attribute=True,
    attributes={"id": any_uri},
    required=("id",),
)
_VOCABULARY_LIST = Model(
    parts=(
        Part(
            "Vocabulary",
            Model(
                parts=(
                    Part(
                        "VocabularyElementList",
                        Model(parts=(Part("VocabularyElement", _VOCABULARY_ELEMENT, least=1, most=None),)),
                    ),
                    Part("extension", ELEMENTS),
                ),
                any_other=True,
                any_attribute=True,
                attributes={"type": any_text},
                required=("type",),
            ),
            most=None,
        ),
    )
)
_PROBLEM = Model(
    parts=(
        Part("type", URI, least=1),
        Part("title", TEXT, least=1),
        Part("status", Model(text=integer)),
        Part("detail", TEXT),
        Part("instance", URI),
    ),
    any_other=True,
)
_CAPTURE_JOB = Model(
    parts=(
        Part("captureErrorBehaviour", Model(text=words("rollback", "proceed")), least=1),
        Part("createdAt", Model(text=stamp)),
        Part("finishedAt", Model(text=stamp)),
        Part("errors", Model(parts=(Part("error", _PROBLEM, least=1, most=None),))),
        Part("errorFile", URI),
    ),
    any_other=True,
    any_attribute=True,
    attributes={"running": boolean, "success": boolean},
    required=("running", "success", "captureID"),
)
_SBDH = "{http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader}StandardBusinessDocumentHeader"
_MASTER_DATA = Part(
    "extension",
    Model(
        parts=(
            Part(
                "EPCISMasterData",
                Model(parts=(Part("VocabularyList", _VOCABULARY_LIST, least=1), Part("extension", ELEMENTS))),
            ),
            Part("extension", ELEMENTS),
        ),
        any_attribute=True,
    ),
)


def _document(version: int, body: Model) -> Model:
    header = Model(
        parts=(Part(_SBDH, ANYTHING, least=1 if version == 1 else 0), _MASTER_DATA),
        any_other=version == 1,
        any_attribute=True,
    )
    return Model(
        parts=(Part("EPCISHeader", header), Part("EPCISBody", body, least=1), Part("extension", ELEMENTS)),
        any_other=True,
        any_attribute=True,
        attributes={"schemaVersion": decimal, "creationDate": date_time},
        required=("schemaVersion", "creationDate"),
    )


def _event_list(version: int) -> Model:
    events = tuple(Part(name, model, most=None) for name, model in EVENTS[version].items())
    if version == 1:
        # A transformation came with 1.1 and stands in an extension; so does what came later, unread by the 1.2 schema.
        late = Model(
            parts=(Part("TransformationEvent", EVENTS[1]["TransformationEvent"]), Part("extension", ELEMENTS)),
            choice=True,
        )
        events = tuple(part for part in events if part.name != "TransformationEvent")
    else:
        late = OPEN
    return Model(parts=(*events, Part("extension", late, most=None)), unordered=True, any_attribute=True)


def _query_body(version: int) -> Model:
    results = Model(
        parts=(
            Part("queryName", TEXT, least=1),
            Part("subscriptionID", TEXT),
            Part(
                "resultsBody",
                Model(
                    parts=(Part("EventList", _event_list(version)), Part("VocabularyList", _VOCABULARY_LIST)),
                    choice=True,
                ),
                least=1,
            ),
            Part("extension", ELEMENTS),
        ),
        any_other=True,
        # Widespread software writes subscriptionID first and leaves QueryResults without its namespace.
        unordered=True,
    )
    names = (f"{{urn:epcglobal:epcis-query:xsd:{version}}}QueryResults", "QueryResults")
    return Model(parts=tuple(Part(name, results) for name in names), choice=True)


def _models() -> dict[str, tuple[int, Model]]:
    found: dict[str, tuple[int, Model]] = {}
    for version in (1, 2):
        body = Model(
            parts=(Part("EventList", _event_list(version)), Part("extension", ELEMENTS)),
            any_other=True,
            any_attribute=True,
        )
        master = Model(
            parts=(Part("VocabularyList", _VOCABULARY_LIST), Part("extension", ELEMENTS)),
            any_other=True,
            any_attribute=True,
        )
        found[f"{{urn:epcglobal:epcis:xsd:{version}}}EPCISDocument"] = (version, _document(version, body))
        query = f"{{urn:epcglobal:epcis-query:xsd:{version}}}EPCISQueryDocument"
        found[query] = (version, _document(version, _query_body(version)))
        masters = f"{{urn:epcglobal:epcis-masterdata:xsd:{version}}}EPCISMasterDataDocument"
        found[masters] = (version, _document(version, master))
    found["{urn:epcglobal:epcis:xsd:2}EPCISCaptureJob"] = (2, _CAPTURE_JOB)
    return found


#: Documents by root element: EPCIS major version and model.
DOCUMENTS = _models()
