"""A connector kind is one module of `fangcuan.ingest.connectors`; nothing registers it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fangcuan.content.yaml_lines import ContentError
from fangcuan.ingest import connectors
from fangcuan.ingest.source import load_source

MODULE = """\
from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    mailbox: str


class Mail:
    kind = "mail"
    Options = Options

    def fetch(self, options, context):
        yield from ()

    def read(self, document, options, chunk_rows):
        yield from ()
"""
SOURCE = """\
id: price_mails
title: {en: Price mails, zh: 价格邮件}
owner: tests
connector: {kind: mail, mailbox: prices}
feeds: [{relation: price_observations, identity: true}]
"""


@pytest.fixture
def mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "connectors"
    folder.mkdir()
    monkeypatch.setattr(connectors, "__path__", [*connectors.__path__, str(folder)])
    connectors.kinds.cache_clear()
    connectors.get.cache_clear()
    yield folder / "mail.py"
    connectors.kinds.cache_clear()
    connectors.get.cache_clear()


def test_one_module_is_a_kind(mail: Path, tmp_path: Path) -> None:
    folder = tmp_path / "price_mails"
    folder.mkdir()
    (folder / "source.yml").write_text(SOURCE, encoding="utf-8")
    shipped = connectors.kinds()
    assert {"files", "http", "sql", "epcis"} <= set(shipped)
    with pytest.raises(ContentError, match="'mail' is not known"):
        load_source(folder)

    mail.write_text(MODULE, encoding="utf-8")
    connectors.kinds.cache_clear()
    assert set(connectors.kinds()) == {*shipped, "mail"}
    spec = load_source(folder)
    assert spec.connector.options.model_dump() == {"mailbox": "prices"}

    (folder / "source.yml").write_text(SOURCE.replace("mailbox: prices", "malbox: prices"), encoding="utf-8")
    with pytest.raises(ContentError, match="did you mean 'mailbox'"):
        load_source(folder)


def test_kinds_are_named_in_their_own_module_only() -> None:
    """A list of kinds somewhere would be a second place to change."""
    sources = Path(connectors.__file__).parents[1]
    for path in sources.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named = [kind for kind in ("http", "epcis") if f'"{kind}"' in text]
        assert not named or path.parent.name in {"connectors", "epcis"}, f"{path}: names {named}"
