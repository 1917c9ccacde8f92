"""What docs/sources.md shows is what works."""

from __future__ import annotations

import re
from pathlib import Path

from fangcuan.ingest import connectors
from fangcuan.ingest.source import load_source

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")


def test_the_examples_load(tmp_path):
    whole, feeds = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    folder = tmp_path / "dealer_sales"
    folder.mkdir()
    (folder / "skus.csv").write_text("value,canonical\n")
    for text in (whole, whole.split("feeds:")[0] + feeds):
        (folder / "source.yml").write_text(text, encoding="utf-8")
        assert load_source(folder, {}).id == "dealer_sales"


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
