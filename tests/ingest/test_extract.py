"""`extract.py` of a source folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fangcuan.authoring import problem, repeated
from fangcuan.ingest.base import Refused
from fangcuan.ingest.extract import extractor
from fangcuan.ingest.source import load_source

SOURCE = """
id: demo
title: {en: Demo, zh: 演示}
owner: o
connector: {kind: files, path: x.csv}
feeds:
  - relation: regions
    identity: true
"""
CHUNK = pa.table({"region_code": ["1", "2"], "_position": ["row 2", "row 3"]})


def source(folder: Path, code: str | None):
    place = folder / "demo"
    place.mkdir(exist_ok=True)
    (place / "source.yml").write_text(SOURCE)
    if code is not None:
        (place / "extract.py").write_text(code)
    return load_source(place)


def test_a_source_without_extract_has_none_and_a_source_without_folder_never_has(tmp_path, monkeypatch):
    spec = source(tmp_path, None)
    assert extractor(spec) is None
    (tmp_path / "extract.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert extractor(spec.model_copy(update={"folder": Path()})) is None


def test_extract_makes_rows_of_rows(tmp_path):
    run = extractor(
        source(tmp_path, "from fangcuan.authoring import repeated\ndef extract(c): return repeated(c, 2)\n")
    )
    assert run(CHUNK).to_pylist() == [
        {"region_code": code, "_position": place, "part": part}
        for code, place in (("1", "row 2"), ("2", "row 3"))
        for part in (1, 2)
    ]


def test_a_changed_extract_is_read_anew(tmp_path):
    assert extractor(source(tmp_path, "def extract(c): return c\n"))(CHUNK).num_rows == 2
    assert extractor(source(tmp_path, "def extract(c): return c.slice(1, 1)\n"))(CHUNK).num_rows == 1


@pytest.mark.parametrize(
    "code",
    [
        "def extract(c): return 1 / 0\n",
        "def extract(c): return None\n",
        "def extract(c): return c.select(['region_code'])\n",
        "def other(c): return c\n",
        "this is no python",
        "import nowhere_at_all\n",
    ],
)
def test_what_goes_wrong_refuses_the_document(tmp_path, code):
    run = extractor(source(tmp_path, code))
    with pytest.raises(Refused) as caught:
        run(CHUNK)
    assert caught.value.reason == "extract_failed"
    assert "extract.py" in caught.value.message


def test_an_extract_may_refuse_by_itself(tmp_path):
    code = "from fangcuan.authoring import Refused\ndef extract(c): raise Refused('truncated', 'half a file')\n"
    with pytest.raises(Refused) as caught:
        extractor(source(tmp_path, code))(CHUNK)
    assert (caught.value.reason, caught.value.message) == ("truncated", "half a file")


def test_helpers_of_content():
    assert repeated(CHUNK.slice(0, 0), 3).num_rows == 0
    assert problem("odd", "price", "x", "a number") == (
        '[{"reason": "odd", "column": "price", "value": "x", "expected": "a number"}]'
    )
