from __future__ import annotations

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import time
import zoneinfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fangcuan.core.feeds import FEEDS, PRICE_OBSERVATIONS, SALES, TRACE_EVENTS
from fangcuan.core.masters import MASTERS
from fangcuan.ingest.gate import BAD_SCHEMA, Gate, GateResult, Statistics, judge
from fangcuan.ingest.gate_report import render
from fangcuan.ingest.mapping import Mapper
from fangcuan.ingest.source import ColumnExpect, Expect, FeedSpec

NIGHT_END = dt.datetime(2026, 3, 15, tzinfo=zoneinfo.ZoneInfo("Asia/Shanghai"))
KNOWN = {
    "products.sku": frozenset({"S1"}),
    "partners.partner_id": frozenset({"P1"}),
    "regions.region_code": frozenset({"110000"}),
}
PRICE = {
    "observation_id": "1",
    "observed_at": "2026-03-14T10:05:00+08:00",
    "channel": "online",
    "surface": "list",
    "currency": "CNY",
    "price": "12.50",
    "sku": "S1",
}
TRACE = {
    "event_id": "1",
    "event_time": "2026-03-14T10:05:00+08:00",
    "event_type": "object",
    "action": "OBSERVE",
    "epc": "urn:epc:id:sgtin:1.1.1",
}


def gated(
    relation, *rows: dict, expect: Expect | None = None, references=KNOWN, where: str | None = None
) -> GateResult:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})
    table = table.append_column("_position", pa.array([f"row {at}" for at in range(2, len(rows) + 2)]))
    mapped = Mapper(relation, FeedSpec(relation=relation.name, where=where)).apply(table)
    return Gate(relation, expect, references, NIGHT_END).check(mapped)


def reasons(result: GateResult) -> list[set[tuple[str, str | None]]]:
    return [{(r["reason"], r["column"]) for r in json.loads(row["reasons"])} for row in result.bad.to_pylist()]


def test_good_rows_pass_as_they_are():
    result = gated(PRICE_OBSERVATIONS, PRICE, {**PRICE, "observation_id": "2", "sku": None, "price": "0"})
    assert (result.good.num_rows, result.bad.num_rows) == (2, 0)
    assert result.good.column_names == list(PRICE_OBSERVATIONS.column_names)
    assert result.bad.schema == BAD_SCHEMA


@pytest.mark.parametrize(
    ("relation", "row", "broken", "reason"),
    [
        (PRICE_OBSERVATIONS, PRICE, {"observation_id": None}, ("missing", "observation_id")),
        (PRICE_OBSERVATIONS, PRICE, {"currency": "  "}, ("missing", "currency")),
        (PRICE_OBSERVATIONS, PRICE, {"observed_at": "32 March"}, ("unparseable", "observed_at")),
        (PRICE_OBSERVATIONS, PRICE, {"price": "-0.01"}, ("out_of_range", "price")),
        (PRICE_OBSERVATIONS, PRICE, {"price": "1,000"}, ("unparseable", "price")),
        (PRICE_OBSERVATIONS, PRICE, {"sku": "S2"}, ("unknown_reference", "sku")),
        (PRICE_OBSERVATIONS, PRICE, {"region_code": "999999"}, ("unknown_reference", "region_code")),
        (PRICE_OBSERVATIONS, PRICE, {"partner_id": "nobody"}, ("unknown_reference", "partner_id")),
        (PRICE_OBSERVATIONS, PRICE, {"channel": "Online"}, ("not_in_vocabulary", "channel")),
        (PRICE_OBSERVATIONS, PRICE, {"observed_at": "2026-03-15T00:00:00+08:00"}, ("in_the_future", "observed_at")),
        (TRACE_EVENTS, TRACE, {"latitude": "90.0001", "longitude": "0"}, ("out_of_range", "latitude")),
        (TRACE_EVENTS, TRACE, {"latitude": "0", "longitude": "-180.5"}, ("out_of_range", "longitude")),
        (TRACE_EVENTS, TRACE, {"latitude": "NaN"}, ("unparseable", "latitude")),
        (TRACE_EVENTS, TRACE, {"accuracy_m": "-1"}, ("out_of_range", "accuracy_m")),
        (TRACE_EVENTS, TRACE, {"event_type": "teleport"}, ("not_in_vocabulary", "event_type")),
        (TRACE_EVENTS, TRACE, {"epc": ""}, ("missing", "epc")),
    ],
)
def test_each_row_rule_quarantines_its_row_and_only_that(relation, row, broken, reason):
    result = gated(relation, row, {**row, **broken}, row)
    assert result.good.num_rows == 2
    (bad,) = result.bad.to_pylist()
    assert bad["position"] == "row 3"
    assert reasons(result) == [{reason}]
    raw = json.loads(bad["raw"])
    assert {name: raw[name] for name in broken} == broken
    assert "_position" not in raw
    assert result.statistics.reasons == {f"{reason[0]}:{reason[1]}": 1}


def test_a_row_lists_every_rule_it_broke_with_value_and_expectation():
    result = gated(
        PRICE_OBSERVATIONS, {**PRICE, "price": "-1", "channel": "x", "sku": "Q", "currency": None, "in_stock": "?"}
    )
    assert reasons(result) == [
        {
            ("out_of_range", "price"),
            ("not_in_vocabulary", "channel"),
            ("unknown_reference", "sku"),
            ("missing", "currency"),
            ("unparseable", "in_stock"),
        }
    ]
    listed = {r["column"]: r for r in json.loads(result.bad.column("reasons")[0].as_py())}
    assert (listed["channel"]["value"], listed["channel"]["expected"]) == ("x", "one of online, offline")
    assert listed["price"]["expected"] == "at least 0"


def test_days_in_the_future_are_judged_by_the_local_day():
    row = {"partner_id": "P1", "sku": "S1", "region_code": "110000", "flow": "sell_in", "quantity": "1"}
    result = gated(SALES, {**row, "day": "2026-03-14"}, {**row, "day": "2026-03-15"})
    assert result.good.num_rows == 1
    assert reasons(result) == [{("in_the_future", "day")}]


def test_times_up_to_the_end_of_the_night_are_not_in_the_future():
    result = gated(PRICE_OBSERVATIONS, {**PRICE, "observed_at": "2026-03-14T23:59:59.999999+08:00"})
    assert result.good.num_rows == 1


def test_a_reference_that_cannot_be_checked_is_said_and_an_empty_one_knows_nothing():
    result = gated(PRICE_OBSERVATIONS, PRICE, references={"products.sku": frozenset()})
    assert reasons(result) == [{("unknown_reference", "sku")}]
    assert result.summary()["unchecked"] == ["partner_id in partners.partner_id", "region_code in regions.region_code"]


def test_what_the_source_expects_is_checked_on_top_of_the_contract():
    expect = Expect(
        columns={
            "price": ColumnExpect(minimum=1, maximum=100),
            "currency": ColumnExpect(values=("CNY",)),
            "observation_id": ColumnExpect(pattern="[0-9]+"),
        }
    )
    rows = [PRICE, {**PRICE, "price": "100.0001"}, {**PRICE, "currency": "EUR"}, {**PRICE, "observation_id": "1x"}]
    assert reasons(gated(PRICE_OBSERVATIONS, *rows, expect=expect)) == [
        {("out_of_range", "price")},
        {("not_in_vocabulary", "currency")},
        {("pattern", "observation_id")},
    ]


def test_problems_of_the_reader_and_the_mapping_quarantine_their_rows(read_file):
    text = ",".join(PRICE) + "\n" + ",".join(PRICE.values()) + "\nonly one field\n"
    raw = pa.Table.from_pylist(read_file("a.csv", text))
    result = Gate(PRICE_OBSERVATIONS, None, KNOWN, NIGHT_END).check(
        Mapper(PRICE_OBSERVATIONS, FeedSpec(relation="price_observations")).apply(raw)
    )
    assert (result.good.num_rows, result.bad.num_rows) == (1, 1)
    assert ("wrong_number_of_fields", None) in reasons(result)[0]
    assert result.bad.column("position").to_pylist() == ["row 3"]


@pytest.mark.parametrize("relation", [*FEEDS.values(), *MASTERS.values()], ids=lambda r: r.name)
def test_every_rule_of_every_relation_can_be_asked(relation):
    """A row of nulls and one of nonsense meet every rule there is."""
    nonsense = {c.name: "?" if c.kind == "text" else None for c in relation.columns}
    nulls = dict.fromkeys(relation.column_names)
    references = {c.references: frozenset() for c in relation.columns if c.references}
    result = gated(relation, nulls, nonsense, references=references)
    broken = set().union(*reasons(result)) if result.bad.num_rows else set()
    expected = {("missing", c.name) for c in relation.columns if c.required and c.default is None}
    expected |= {("not_in_vocabulary", c.name) for c in relation.columns if c.values}
    expected |= {("unknown_reference", c.name) for c in relation.columns if c.references}
    assert expected <= broken
    assert result.statistics.rows == 2


def test_screening_and_detail_agree_row_by_row():
    """What the first pass lets through breaks no rule when every rule is asked of it."""
    from fangcuan.ingest.expectations import validate
    from fangcuan.ingest.rules import gate_frame

    rows = [{**TRACE, "event_id": str(n), "latitude": str(n * 10), "sku": f"S{n % 3}"} for n in range(-12, 13)]
    result = gated(TRACE_EVENTS, *rows)
    gate = Gate(TRACE_EVENTS, None, KNOWN, NIGHT_END)
    frame = gate_frame(result.good, gate.rules, KNOWN)
    found = validate(frame.detail(list(gate.rules)), {rule.name: rule.expectation for rule in gate.rules}, detail=True)
    assert not [name for name, answer in found.items() if answer.broken]
    assert 0 < result.good.num_rows < len(rows)


_VALUE = st.sampled_from(
    [None, "", "1", "-1", "x", "S1", "P1", "online", "2026-03-14T00:00:00Z", "2030-01-01T00:00:00Z", "1,0"]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(PRICE, _VALUE)), min_size=1, max_size=12))
def test_nothing_is_lost_and_order_is_kept(rows):
    result = gated(PRICE_OBSERVATIONS, *rows, where="coalesce(sku, '') <> 'x'")
    counts = result.statistics
    assert counts.rows == result.good.num_rows + result.bad.num_rows == counts.good + counts.quarantined
    assert counts.rows + counts.skipped == len(rows)
    positions = [int(text.split()[1]) for text in result.bad.column("position").to_pylist()]
    assert positions == sorted(positions)
    for row in result.bad.to_pylist():
        assert json.loads(row["reasons"])
        assert json.loads(row["raw"]) == rows[int(row["position"].split()[1]) - 2]


def test_an_empty_chunk_passes():
    result = gated(PRICE_OBSERVATIONS, PRICE, where="false")
    assert (result.statistics.rows, result.statistics.skipped, result.good.num_rows) == (0, 1, 0)


def test_chunks_larger_than_a_check_are_checked_in_parts(monkeypatch):
    from fangcuan.ingest import gate

    monkeypatch.setattr(gate, "CHECK_ROWS", 3)
    rows = [{**PRICE, "price": "-1" if n % 4 == 0 else "1"} for n in range(10)]
    result = gated(PRICE_OBSERVATIONS, *rows)
    assert result.bad.column("position").to_pylist() == ["row 2", "row 6", "row 10"]
    assert result.statistics.rules["price is in its range"].looked_at == 10


# ------------------------------------------------------------------------------------------------------- whole batches


def counted(rows: int, bad: int = 0, newest: dt.datetime | None = None) -> Statistics:
    return Statistics(rows=rows, good=rows - bad, quarantined=bad, newest=newest)


@pytest.mark.parametrize(
    ("statistics", "expect", "held"),
    [
        (counted(100, 1), Expect(quarantine_pct=1.0), []),
        (counted(100, 2), Expect(quarantine_pct=1.0), ["too_many_quarantined"]),
        (counted(10, 9), Expect(), []),
        (counted(10, 10), Expect(), ["too_many_quarantined"]),
        (counted(4), Expect(rows=(5, None)), ["too_few_rows"]),
        (counted(0), Expect(rows=(1, None)), ["too_few_rows"]),
        (counted(6), Expect(rows=(None, 5)), ["too_many_rows"]),
        (counted(0), Expect(), []),
        (counted(5, newest=NIGHT_END - dt.timedelta(days=2)), Expect(max_age_days=3), []),
        (counted(5, newest=NIGHT_END - dt.timedelta(days=4)), Expect(max_age_days=3), ["stale"]),
        (counted(9, 9), Expect(rows=(10, 20), quarantine_pct=5), ["too_few_rows", "too_many_quarantined"]),
    ],
)
def test_whole_batches_are_held_for_each_reason(statistics, expect, held):
    verdict = judge(statistics, expect, NIGHT_END)
    assert [reason["reason"] for reason in verdict.reasons] == held
    assert verdict.state == ("held" if held else "passed")


def test_statistics_of_chunks_add_up_and_staleness_ignores_quarantined_rows():
    total = Statistics()
    for rows in ([PRICE, {**PRICE, "price": "-1"}], [{**PRICE, "observed_at": "2026-04-01T00:00:00Z"}]):
        total.add(gated(PRICE_OBSERVATIONS, *rows).statistics)
    assert (total.rows, total.good, total.quarantined) == (3, 1, 2)
    assert total.reasons == {"out_of_range:price": 1, "in_the_future:observed_at": 1}
    assert total.newest == dt.datetime(2026, 3, 14, 2, 5, tzinfo=dt.UTC)
    assert json.loads(json.dumps(total.summary()))["rules"]


def test_a_night_end_without_zone_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        Gate(PRICE_OBSERVATIONS, night_end=dt.datetime(2026, 3, 15))


# -------------------------------------------------------------------------------------------------- how it is run


def test_the_gate_uses_no_network(monkeypatch):
    def refuse(*args: object, **more: object) -> None:
        raise AssertionError(f"network: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert gated(PRICE_OBSERVATIONS, PRICE, {**PRICE, "price": "-1"}).bad.num_rows == 1


def test_a_gate_first_used_in_a_fresh_process_prints_nothing_and_calls_nobody():
    import subprocess
    import sys

    code = """
import socket
def refuse(*a, **k): raise SystemExit('network')
socket.socket.connect = refuse
socket.getaddrinfo = refuse
import datetime as dt, pyarrow as pa
from fangcuan.core.feeds import PRICE_OBSERVATIONS as P
from fangcuan.ingest.gate import Gate
from fangcuan.ingest.mapping import Mapper
from fangcuan.ingest.source import FeedSpec
row = dict(observation_id='1', observed_at='2026-03-14T00:00:00Z', channel='x', surface='list', currency='CNY')
chunk = Mapper(P, FeedSpec(relation=P.name)).apply(pa.table({k: [v] for k, v in row.items()}))
print(Gate(P, night_end=dt.datetime(2026, 3, 15, tzinfo=dt.UTC)).check(chunk).bad.num_rows)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout.strip(), done.stderr.strip()) == ("1", "")


def test_large_vocabularies_and_chunks_stay_fast():
    """A ratio, not a clock: a vocabulary a thousand times larger costs about the same."""
    rows = pa.table(
        {name: pa.array([value] * 20_000) for name, value in TRACE.items()} | {"sku": pa.array(["S1"] * 20_000)}
    )
    mapped = Mapper(TRACE_EVENTS, FeedSpec(relation="trace_events")).apply(rows)

    def seconds(vocabulary: frozenset[str]) -> float:
        gate = Gate(TRACE_EVENTS, None, {"products.sku": vocabulary}, NIGHT_END)
        gate.check(mapped)
        best = 9e9
        for _ in range(3):
            started = time.perf_counter()
            assert gate.check(mapped).bad.num_rows == 0
            best = min(best, time.perf_counter() - started)
        return best

    small = seconds(frozenset({"S1"}))
    large = seconds(frozenset({"S1"} | {f"S{n}" for n in range(1_000_000)}))
    assert large < 4 * small + 0.1


def test_a_great_many_bad_rows_stay_bad_rows():
    rows = pa.table({name: pa.array([value] * 100_000) for name, value in PRICE.items()})
    rows = rows.set_column(rows.column_names.index("price"), "price", pa.array(["-1"] * 100_000))
    mapped = Mapper(PRICE_OBSERVATIONS, FeedSpec(relation="price_observations")).apply(rows)
    result = Gate(PRICE_OBSERVATIONS, None, KNOWN, NIGHT_END).check(mapped)
    assert (result.good.num_rows, result.bad.num_rows) == (0, 100_000)


# --------------------------------------------------------------------------------------------------------- the page

XSS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1)//",
    "&lt;b&gt;",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_self_contained_and_escapes_every_value(language):
    result = gated(PRICE_OBSERVATIONS, *({**PRICE, "channel": text, "sku": text} for text in XSS))
    verdict = judge(result.statistics, Expect(), NIGHT_END)
    page = render(
        result.summary(),
        title=XSS[0],
        state=verdict.state,
        held_for=[{"reason": XSS[1], "message": XSS[0]}],
        language=language,
        bad_rows=[
            {"position": row["position"], "reasons": json.loads(row["reasons"])} for row in result.bad.to_pylist()
        ],
    )
    assert "<script" not in page
    assert "<img" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("&lt;script&gt;") >= 3
    assert ("质检结果" if language == "zh" else "Gate result") in page
    from lxml import html

    tree = html.document_fromstring(page)
    assert tree.xpath("//@src | //@href | //@*[starts-with(name(), 'on')]") == []
    assert len(tree.xpath("//table")) == 4


def test_the_page_shows_the_bad_rows_first_and_in_its_language():
    wrong = {**PRICE, "observation_id": "2", "price": "1,298.00", "sku": "S9"}
    result = gated(PRICE_OBSERVATIONS, PRICE, wrong, {**wrong, "observation_id": "3"})
    rows = [{"position": row["position"], "reasons": json.loads(row["reasons"])} for row in result.bad.to_pylist()]
    pages = {
        language: render(result.summary(), title="x", state="passed", language=language, bad_rows=rows[:1])
        for language in ("en", "zh")
    }
    from lxml import html

    cells = {
        language: [
            [cell.text_content() for cell in line.xpath("td")]
            for line in html.document_fromstring(page).xpath("(//table)[2]//tr[td]")
        ]
        for language, page in pages.items()
    }
    assert ["", "sku", "unknown reference", "S9", "a value of products.sku"] in [["", *row[1:]] for row in cells["en"]]
    assert ["", "sku", "引用不存在", "S9", "见于 products.sku"] in [["", *row[1:]] for row in cells["zh"]]
    assert any("1,298.00" in row for row in cells["zh"])
    assert "the first 1 of 2" in pages["en"]
    assert "共 2 行，显示前 1 行" in pages["zh"]
    assert "a value" not in pages["zh"].split("<h2>规则")[1]
    # Broken rules stand before kept ones, and a batch that passed with bad rows does not look as if all were well.
    assert pages["en"].index('class="broken"') < pages["en"].index("observation_id")
    assert '<span class="state part">Quarantined rows 2</span>' in pages["en"]


def test_great_expectations_leaves_no_folder_among_the_temporary_files(tmp_path):
    code = (
        "import sys\nmade = []\n"
        "sys.addaudithook(lambda name, args: made.append(args[0]) if name in ('os.mkdir', 'tempfile.mkdtemp') else None)\n"
        "import pandas as pd\nfrom fangcuan.ingest.expectations import validate\nfrom fangcuan.ingest.rules import Ask\n"
        "ask = Ask('expect_column_values_to_not_be_null', (('column', 'a'),))\n"
        "assert validate(pd.DataFrame({'a': [1, None]}), {'given': ask}, detail=True)['given'].broken\n"
        "print([str(path) for path in made if str(path).startswith(sys.argv[1])])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.strip() == "[]"
