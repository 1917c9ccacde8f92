"""A data source is one folder of pipelines/, also in an overlay; the settings name it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., tuple[int, Any]]

SOURCE = """\
id: shop_visits
title: {en: Shop visits, zh: 门店巡查}
owner: tests
connector:
  kind: files
  path: inbox/{night:%Y-%m-%d}*.csv
feeds:
  - relation: inspections
    timezone: Asia/Shanghai
    map:
      visit_id: number
      visited_at: seen_at
      inspector_ref: "'I1'"
      shop_ref: shop
      kind: "'code_read'"
      epc: code
      region_code: "'320100'"
"""
EXTRACT = """\
import pyarrow as pa
import pyarrow.compute as pc

from fangcuan.authoring import POSITION


def extract(chunk: pa.Table) -> pa.Table:
    return chunk.filter(pc.not_equal(chunk.column("shop"), "test shop"))
"""


def add_source(overlay: Path) -> Path:
    folder = overlay / "pipelines" / "shop_visits"
    (folder / "inbox").mkdir(parents=True)
    (folder / "source.yml").write_text(SOURCE, encoding="utf-8")
    (folder / "inbox" / "2026-03-18.csv").write_text(
        "number,seen_at,shop,code\n1,2026-03-18 09:00:00,shop one,u1\n2,2026-03-18 10:00:00,test shop,u2\n",
        encoding="utf-8",
    )
    return folder


def pulled(fangcuan: Run, home: Path, night: str) -> dict[str, Any]:
    (result,) = fangcuan("ingest", "--date", night, "--json")[1]["items"]
    return {key: result[key] for key in ("source_id", "state", "rows_read", "rows_loaded")}


def test_one_folder_is_checked_pulled_and_judged(overlay: Path, fangcuan: Run, tmp_path: Path, night: str) -> None:
    add_source(overlay)
    home = tmp_path / "home"
    assert fangcuan("check")[0] == 0
    assert fangcuan("init", "--home", str(home), "--source", "shop_visits")[0] == 0
    assert pulled(fangcuan, home, night) == {
        "source_id": "shop_visits",
        "state": "landed",
        "rows_read": 2,
        "rows_loaded": 2,
    }
    code, judged = fangcuan("nightly", "--date", night, "--json")
    assert code == 0, judged


def test_an_extract_beside_it_is_all_the_python_it_takes(
    overlay: Path, fangcuan: Run, tmp_path: Path, night: str
) -> None:
    folder = add_source(overlay)
    (folder / "extract.py").write_text(EXTRACT, encoding="utf-8")
    assert fangcuan("init", "--home", str(tmp_path / "home"), "--source", "shop_visits")[0] == 0
    assert pulled(fangcuan, tmp_path / "home", night)["rows_loaded"] == 1


def test_a_source_that_is_not_there_is_named(overlay: Path, fangcuan: Run, tmp_path: Path, night: str) -> None:
    assert fangcuan("init", "--home", str(tmp_path / "home"), "--source", "shop_visit")[0] == 0
    add_source(overlay)
    code, said = fangcuan("ingest", "--date", night)
    assert code == 1
    assert "no source 'shop_visit'" in said
    assert "shop_visits" in said
