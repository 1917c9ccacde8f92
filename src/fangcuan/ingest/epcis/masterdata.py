"""Master data that an EPCIS document carries (EPCIS 2.0 section 6.1.4, CBV 2.0 section 9) as raw partners and products."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from fangcuan.ingest.base import POSITION, PROBLEMS, RawChunk
from fangcuan.ingest.epcis.document import VocabularyElement
from fangcuan.ingest.epcis.identifiers import digital_link, gtin_and_lot

_VTYPE = "urn:epcglobal:epcis:vtype:"
_MDA = "urn:epcglobal:cbv:mda:"
#: Vocabularies of places and parties; a read point lies inside a place, which is what can hold goods.
_PARTNER_KINDS = frozenset(
    f"{_VTYPE}{name}" for name in ("BusinessLocation", "ReadPoint", "SourceDest", "Location", "Party")
)
_PRODUCT_KINDS = frozenset(f"{_VTYPE}{name}" for name in ("EPCClass", "EPCInstance"))

_PARTNER_COLUMNS = ("partner_id", "name", "kind", "parent_id", "region_code", "gln", POSITION, PROBLEMS)
_PRODUCT_COLUMNS = ("sku", "gtin", "name", "brand", POSITION, PROBLEMS)


def chunks(elements: Iterable[VocabularyElement], chunk_rows: int) -> Iterator[RawChunk]:
    """Chunks of relation `partners` and `products`; an element told twice (as place and as read point) is one row.

    `partner_id` and `sku` are the identifiers of the document, `kind` is empty: EPCIS does not know what a distributor
    is, the source's mapping says so. Vocabularies of other things are left out.
    """
    elements = list(elements)
    inside = {child: element.id for element in elements for child in element.children}
    partners: dict[str, tuple[str | None, ...]] = {}
    products: dict[str, tuple[str | None, ...]] = {}
    for element in elements:
        if element.kind in _PARTNER_KINDS:
            row = _partner(element, inside.get(element.id))
            partners[element.id] = _completed(partners.get(element.id), row)
        elif element.kind in _PRODUCT_KINDS:
            products[element.id] = _completed(products.get(element.id), _product(element))
    yield from _chunks("partners", _PARTNER_COLUMNS, list(partners.values()), chunk_rows)
    yield from _chunks("products", _PRODUCT_COLUMNS, list(products.values()), chunk_rows)


def _value(element: VocabularyElement, *names: str) -> str | None:
    for name in names:
        for key in (_MDA + name, f"cbvmda:{name}", f"https://ref.gs1.org/cbv/{name}"):
            if element.attributes.get(key):
                return element.attributes[key]
    return None


def _gln(uri: str) -> str | None:
    stem, _, rest = digital_link(uri).partition("id.gs1.org/")
    key, _, value = rest.partition("/")
    return value.partition("/")[0] if stem and key in ("414", "417") else None


def _partner(element: VocabularyElement, parent: str | None) -> tuple[str | None, ...]:
    gln = _gln(element.id) or _value(element, "site")
    name = _value(element, "name", "ssd") or element.id
    region = _value(element, "countryCode")
    return element.id, name, None, parent, region, gln, element.position, None


def _product(element: VocabularyElement) -> tuple[str | None, ...]:
    gtin = gtin_and_lot(element.id)[0]
    name = _value(element, "descriptionShort", "functionalName", "tradeItemDescription", "regulatedProductName")
    return element.id, gtin, name or element.id, _value(element, "brandName"), element.position, None


def _completed(before: tuple[str | None, ...] | None, row: tuple[str | None, ...]) -> tuple[str | None, ...]:
    if before is None:
        return row
    # The identifier stands in for a name until another vocabulary tells it.
    return tuple(
        later if earlier is None or (place > 0 and earlier == row[0] and later) else earlier
        for place, (earlier, later) in enumerate(zip(before, row, strict=True))
    )


def _chunks(
    relation: str, names: tuple[str, ...], held: list[tuple[str | None, ...]], chunk_rows: int
) -> Iterator[RawChunk]:
    for start in range(0, len(held), chunk_rows):
        columns = [pa.array(column, pa.string()) for column in zip(*held[start : start + chunk_rows], strict=True)]
        yield RawChunk(pa.table(columns, names=list(names)), relation)
