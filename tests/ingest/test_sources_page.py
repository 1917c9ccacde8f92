"""What docs/sources.md shows is what works."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pyarrow as pa

from fangcuan.ingest import connectors
from fangcuan.ingest.extract import extractor
from fangcuan.ingest.source import load_source

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")


def test_the_examples_load(tmp_path):
    whole, feeds, join = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    folder = tmp_path / "dealer_sales"
    folder.mkdir()
    (folder / "skus.csv").write_text("value,canonical\n")
    head = whole.split("feeds:")[0]
    for text in (whole, head + feeds, head + textwrap.indent(join, "  ") + feeds):
        (folder / "source.yml").write_text(text, encoding="utf-8")
        assert load_source(folder, {}).id == "dealer_sales"


def test_the_extract_works(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "extract.py").write_text(code, encoding="utf-8")
    source = "id: demo\ntitle: {en: D, zh: 演}\nowner: o\nconnector: {kind: files, path: x.csv}\nfeeds: [{relation: sales}]\n"
    (tmp_path / "demo" / "source.yml").write_text(source, encoding="utf-8")
    run = extractor(load_source(tmp_path / "demo"))
    assert run is not None
    assert run(pa.table({"a": ["x"], "_position": ["row 2"]})).column("part").to_pylist() == [1, 2]


def test_every_option_of_these_connectors_is_explained():
    for kind in ("files", "sql", "http"):
        section = PAGE.split(f"### `{kind}`")[1].split("\n### ")[0].split("\n## ")[0]
        options = connectors.get(kind).Options.model_fields
        assert len(options) > 5
        missing = [name for name in options if f"`{name}`" not in section]
        assert missing == [], (kind, missing)


def test_every_refusal_code_is_listed():
    folder = Path(connectors.__file__).parent
    files = [*folder.glob("*.py"), folder.parent / "mapping.py"]
    codes = {
        code
        for file in files
        if file.name != "epcis.py"
        for code in re.findall(r'Refused\(\s*"(\w+)"', file.read_text())
    }
    assert len(codes) > 8
    assert [code for code in sorted(codes) if f"`{code}`" not in PAGE] == []
