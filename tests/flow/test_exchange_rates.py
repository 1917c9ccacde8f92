"""An exchange rate has more places than a price: none is lost between the file and what a unit reads."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

from fangcuan.detect.sources import CatalogueRows
from fangcuan.flow.pulling import pull_all
from fangcuan.flow.quarantine import list_quarantine
from fangcuan.warehouse.engine import DuckEngine

RATES = ("0.138912", "7.20001234", "1234567890.5", "0.123456789")


def test_a_rate_keeps_its_places_and_one_with_more_is_quarantined(
    new_home: Any, tmp_path: Path, flow_tools: dict[str, Any]
) -> None:
    home, world = new_home(), flow_tools["build_world"](tmp_path / "world")
    lines = [f"C{at},CNY,{rate},2025-01-01,,2025-01-01T00:00:00+08:00" for at, rate in enumerate(RATES)]
    header = "currency,quote_currency,rate,valid_from,valid_to,recorded_at"
    (world / "master" / "fx_rates.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    list(pull_all(home, dt.date(2026, 12, 31), world=world))
    (bad,) = list_quarantine(home)
    (reason,) = bad["examples"][0]["reasons"]
    assert (bad["relation"], reason["column"], reason["value"]) == ("fx_rates", "rate", "0.123456789")
    assert "8 after the point" in reason["expected"]
    with DuckEngine(home.settings) as engine:
        CatalogueRows(home.settings, home.engine, dt.date(2026, 12, 31), {}).open_raw(engine, "fx_rates")
        read = engine.arrow("select currency, rate from recorded_fx_rates order by currency").to_pylist()
    assert [row["rate"] for row in read] == [Decimal(rate) for rate in RATES[:3]]
