from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from fangcuan.content.yaml_lines import ContentError
from fangcuan.ingest.source import Expect, FeedSpec, load_source

GOOD = """\
id: sample_prices
title: {en: Sample prices, zh: 价格样本}
owner: channel-data
schedule: nightly
connector:
  kind: files
  path: "${INBOX}/{night:%Y-%m-%d}*.csv"
feeds:
  - relation: price_observations
    where: "price is not null"
    map:
      observation_id: id
      observed_at: seen
      channel: "'online'"
      surface: "'list'"
      price: price
      pack_quantity: 1
      currency: "'CNY'"
      sku: product
    timezone: Asia/Shanghai
    ignore: [comment, 7]
    lookups:
      sku: {file: skus.csv}
      currency: {RMB: CNY}
    expect:
      rows: [1, null]
      quarantine_pct: 1.0
      max_age_days: 3
      columns: {price: {minimum: 0.01, maximum: 99999}, currency: {values: [CNY], pattern: "[A-Z]{3}"}}
"""


def write(tmp_path: Path, text: str, name: str = "sample_prices") -> Path:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "source.yml").write_text(text, encoding="utf-8")
    (folder / "skus.csv").write_text("value,canonical\nA-1,SKU1\n", encoding="utf-8")
    return folder


def complaints(folder: Path, variables: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ContentError) as caught:
        load_source(folder, {"INBOX": "in"} if variables is None else variables)
    return [str(p).replace(str(folder / "source.yml"), "source.yml") for p in caught.value.problems]


def test_a_good_source_loads_with_its_lookups_and_variables(tmp_path):
    spec = load_source(write(tmp_path, GOOD), {"INBOX": "in"})
    feed = spec.feeds[0]
    assert spec.connector.options.path == "in/{night:%Y-%m-%d}*.csv"
    assert feed.lookups == {"sku": {"A-1": "SKU1"}, "currency": {"RMB": "CNY"}}
    assert feed.map["pack_quantity"] == "1"
    assert feed.ignore == ("comment", "7")
    assert feed.expect.rows == (1, None)
    assert spec.folder == tmp_path / "sample_prices"


def test_every_complaint_is_told_at_once_each_with_its_line(tmp_path):
    text = (
        GOOD.replace("owner: channel-data\n", "")
        .replace("  - relation: price_observations", "  - relation: price_observations\n    wher: x")
        .replace("price: price", "prise: price\n      title: (select 1)")
        .replace("Asia/Shanghai", "Asia/Shanghi")
        .replace("skus.csv", "none.csv")
        .replace("maximum: 99999", "maxim: 1")
        .replace("kind: files", "kind: files\n  colour: red")
    )
    found = complaints(write(tmp_path, text))
    lines = {int(item.split(":")[1]) for item in found}
    text_of = "\n".join(found)
    for words in (
        "key 'owner' is missing",
        "unknown key 'feeds.0.wher'",
        "did you mean 'where'?",
        "no column 'prise'",
        "subquery is not allowed",
        "not an IANA time zone",
        "'none.csv' cannot be read",
        "unknown key 'connector.colour'",
        "unknown key 'feeds.0.expect.columns.price.maxim'",
    ):
        assert words in text_of, text_of
    assert len(found) >= 8
    assert {6, 10, 17, 18, 22} <= lines


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("id: sample_prices", "id: other", "is not the name of its folder"),
        ("relation: price_observations", "relation: prices", "'prices' is not a relation"),
        ("kind: files", "kind: ftp", "'ftp' is not known; expected one of epcis, files"),
        ("  kind: files\n", "", "connector.kind is missing"),
        ("schedule: nightly", "schedule: hourly", "schedule: "),
        ("      price: price\n", "      price: a from b\n", "not a DuckDB expression"),
        ("      observed_at: seen\n", "", "mandatory columns without an expression: observed_at"),
        ("price is not null", "${X}", "only replaced in connector options"),
        ("rows: [1, null]", "rows: [5, 1]", "above maximum"),
        ("rows: [1, null]", "rows: [1]", "feeds.0.expect.rows"),
        ("price: {minimum: 0.01,", "sku: {minimum: 0.01,", "minimum and maximum are for numbers"),
        ('pattern: "[A-Z]{3}"', 'pattern: "[A-Z"', "not a regular expression"),
        ("currency: {RMB: CNY}", "price: {a: b}", "price is decimal; a lookup replaces text"),
        ("title: {en: Sample prices, zh: 价格样本}", "title: {en: Sample prices}", "'title.zh' is missing"),
        ("sku: {file: skus.csv}", "sku: {file: ../../etc/x}", "outside the source's folder"),
    ],
)
def test_one_mistake_is_named(tmp_path, old: str, new: str, words: str):
    assert old in GOOD
    found = complaints(write(tmp_path, GOOD.replace(old, new)))
    assert any(words in item for item in found), found


def test_a_variable_that_is_not_set_or_is_a_secret_is_named(tmp_path):
    folder = write(tmp_path, GOOD)
    assert complaints(folder, {}) == [
        "source.yml:7: ${INBOX} is not set; set the variable INBOX or write the value out"
    ]
    write(tmp_path, GOOD.replace("${INBOX}", "${FANGCUAN_SECRET_KEY}"))
    assert "is a secret" in complaints(folder, {"FANGCUAN_SECRET_KEY": "hunter2"})[0]
    assert "hunter2" not in "".join(complaints(folder, {"FANGCUAN_SECRET_KEY": "hunter2"}))


def test_two_feeds_of_one_relation_are_refused(tmp_path):
    text = GOOD + "  - relation: price_observations\n    identity: true\n"
    assert any("already fed by feed 1" in item for item in complaints(write(tmp_path, text)))


def test_two_relations_from_one_source(tmp_path):
    spec = load_source(write(tmp_path, GOOD + "  - relation: products\n"), {"INBOX": "in"})
    assert [feed.relation for feed in spec.feeds] == ["price_observations", "products"]
    assert spec.feeds[1].maps_itself


def test_a_lookup_file_that_contradicts_itself_is_refused(tmp_path):
    folder = write(tmp_path, GOOD)
    (folder / "skus.csv").write_text("value,canonical\nA,1\nA,2\n")
    assert any("'A' already stands for '1'" in item for item in complaints(folder))
    (folder / "skus.csv").write_text("a,b\nA,1\n")
    assert any("header value,canonical" in item for item in complaints(folder))


def test_specs_made_in_code_are_checked_too():
    assert FeedSpec(relation="sales").maps_itself
    with pytest.raises(ValidationError, match="is not a relation"):
        FeedSpec(relation="nothing")
    with pytest.raises(ValidationError, match="not allowed"):
        FeedSpec(relation="sales", identity=True, map={"amount": "sum(x)"})
    with pytest.raises(ValidationError):
        Expect(rows=(3, 2))


def test_a_bad_item_is_not_also_told_as_a_list_too_short(tmp_path):
    assert len(complaints(write(tmp_path, GOOD.replace("price: price", "price: sum(price)")))) == 1


def test_an_empty_or_odd_file_is_one_complaint(tmp_path):
    assert len(complaints(write(tmp_path, ""))) == 1
    assert len(complaints(write(tmp_path, "- a\n"))) == 1
