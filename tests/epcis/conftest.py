"""The public EPCIS documents ($FANGCUAN_REAL_DATA/epcis) and small damages to documents, drawn from a seeded generator."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import etree


def _epcis() -> Path | None:
    root = os.environ.get("FANGCUAN_REAL_DATA")
    folder = Path(root) / "epcis" if root else None
    return folder if folder is not None and folder.is_dir() else None


@pytest.fixture(scope="session")
def epcis_data() -> Path:
    """Folder with `gs1`, `event-hash-known-answers` and `linked-events`; skips where it is absent."""
    folder = _epcis()
    if folder is None:
        pytest.skip("the public EPCIS documents are not here: set FANGCUAN_REAL_DATA to the folder that holds epcis/")
    return folder


@pytest.fixture(scope="session")
def gs1(epcis_data: Path) -> Path:
    """The documents, schemas and XSDs that GS1 publishes."""
    return epcis_data / "gs1"


@pytest.fixture(scope="session")
def official(gs1: Path) -> dict[str, Path]:
    """Official documents by path below `gs1`: those that must load and the five that must be refused."""
    found = [
        *(gs1 / "JSON").rglob("*.jsonld"),
        *(gs1 / "JSON-simple-context").rglob("*.jsonld"),
        *(gs1 / "XML").rglob("*.xml"),
        *(gs1 / "XML").rglob("*.json"),
        *(gs1 / "XML-1.2" / "documents").glob("*.xml"),
    ]
    assert len(found) > 100, "the folder of official documents is incomplete"
    return {str(path.relative_to(gs1)): path for path in sorted(found)}


VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    1.5,
    -7,
    "",
    "word",
    "two words",
    "urn:epcglobal:cbv:bizstep:shipping",
    "https://ns.gs1.org/cbv/BizStep-shipping",
    "https://gs1.org/voc/Temperature",
    "shipping",
    "https://example.com/thing",
    "2020-01-01T00:00:00Z",
    "2020-01-01T00:00:00",
    "2020-13-01T00:00:00Z",
    "+01:00",
    "+14:30",
    "KGM",
    "kg",
    "ADD",
    "OBSERVE",
    "DELETE",
    "ObjectEvent",
    "TransformationEvent",
    "AggregationEvent",
    "https://example.com/OwnEvent",
    "zz",
    [],
    {},
    ["urn:a:b"],
    ["urn:a:b", "urn:a:b"],
    [{"epcClass": "urn:a:b"}],
    {"id": "urn:a:b"},
)
NAMES = (
    "action",
    "bizStep",
    "childEPCs",
    "childQuantityList",
    "epcList",
    "epcClass",
    "errorDeclaration",
    "eventID",
    "example:field",
    "id",
    "ilmd",
    "inputEPCList",
    "nonsense",
    "outputQuantityList",
    "parentID",
    "persistentDisposition",
    "quantity",
    "quantityList",
    "recordTime",
    "sensorElementList",
    "transformationID",
    "type",
    "uom",
    "https://example.com/ns/field",
)


def _holders(value: Any) -> list[Any]:
    found, stack = [], [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict | list) and item:
            found.append(item)
            stack.extend(item.values() if isinstance(item, dict) else item)
    return found


def _damaged_json(document: Any, random_: random.Random) -> Any:
    """A copy with one damage: a field removed, replaced, renamed, added or repeated."""
    document = copy.deepcopy(document)
    holder = random_.choice(_holders(document))
    key = random_.choice(list(holder)) if isinstance(holder, dict) else random_.randrange(len(holder))
    match random_.randrange(5):
        case 0:
            del holder[key]
        case 1 | 2:
            holder[key] = copy.deepcopy(random_.choice(VALUES))
        case 3 if isinstance(holder, dict):
            holder[random_.choice(NAMES)] = copy.deepcopy(random_.choice([holder[key], *VALUES]))
        case 4 if isinstance(holder, dict):
            holder[random_.choice(NAMES)] = holder.pop(key)
        case _:
            holder.insert(0, copy.deepcopy(random_.choice([holder[key], *VALUES]))) if isinstance(
                holder, list
            ) else None
    return document


def _damaged_xml(root: etree._Element, random_: random.Random) -> etree._Element:
    """A copy with one damage: an element removed, repeated, renamed, moved, or a text or attribute changed."""
    root = copy.deepcopy(root)
    element = random_.choice([node for node in root.iter() if isinstance(node.tag, str)])
    parent = element.getparent()
    text = str(random_.choice([value for value in VALUES if isinstance(value, str)]))
    match random_.randrange(8):
        case 0 if parent is not None:
            parent.remove(element)
        case 1 if parent is not None:
            parent.insert(random_.randrange(len(parent) + 1), copy.deepcopy(element))
        case 2 if parent is not None:
            element.tag = random_.choice([name for name in NAMES if ":" not in name])
        case 3 if parent is not None:
            parent.insert(random_.randrange(len(parent) + 1), element)
        case 4:
            element.text = text
        case 5:
            element.set(random_.choice(("type", "foo", "time", "value", "schemaVersion")), text)
        case 6 if element.attrib:
            del element.attrib[random_.choice(list(element.attrib))]
        case _:
            etree.SubElement(element, random_.choice([name for name in NAMES if ":" not in name])).text = text
    return root


@pytest.fixture(scope="session")
def damaged_json() -> Callable[[Any, random.Random], Any]:
    return _damaged_json


@pytest.fixture(scope="session")
def damaged_xml() -> Callable[[etree._Element, random.Random], etree._Element]:
    return _damaged_xml
