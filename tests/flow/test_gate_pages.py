"""The pages of `fangcuan receipts --page`: what wants a look stands first, with the rows that are wrong."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from lxml import html
from sqlalchemy import select

from fangcuan.flow.gate_pages import write_pages
from fangcuan.flow.pulling import pull_all
from fangcuan.flow.quarantine import rows_of_receipt
from fangcuan.store.catalogue import Receipt
from fangcuan.store.database import read


def test_a_batch_with_bad_rows_stands_first_and_shows_them(
    new_home: Any, tmp_path: Path, flow_tools: dict[str, Any]
) -> None:
    home, world = new_home(), flow_tools["build_world"](tmp_path / "world")
    scans = next(iter(sorted((world / "feeds" / "trace_events").glob("*.csv"))))
    lines = scans.read_text(encoding="utf-8").splitlines()
    at = lines[0].split(",").index("event_time")
    wrong = lines[1].split(",")
    wrong[at] = "yesterday"
    scans.write_text("\n".join([*lines, ",".join(wrong)]) + "\n", encoding="utf-8")
    list(pull_all(home, dt.date(2026, 12, 31), world=world))
    with read(home.engine) as connection:
        receipts = [dict(row) for row in connection.execute(select(Receipt.__table__)).mappings()]
    bad = [receipt for receipt in receipts if receipt["rows_quarantined"]]
    assert len(bad) == 1
    folder = tmp_path / "pages"
    pages = write_pages(receipts, folder, lambda receipt_id: rows_of_receipt(home, receipt_id))
    assert pages == len(list(folder.glob("*.html")))

    index = html.parse(folder / "index.html")
    first, everything = index.xpath("//table")
    assert len(first.xpath(".//tr[td]")) == 1
    assert len(everything.xpath(".//tr[td]")) == len(receipts)
    english, chinese = first.xpath(".//a/@href")
    for name, why in ((english, "cannot be parsed"), (chinese, "无法解析")):
        cells = [cell.text_content() for cell in html.parse(folder / name).xpath("(//table)[2]//td")]
        assert {"event_time", "yesterday", why} <= set(cells)
