"""Writing a world folder: the same tables always give the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fangcuan.core.feeds import FEEDS
from fangcuan.simulate.clock import date_of, iso_days, iso_times


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """One object per line; keys without a value are left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        for row in rows:
            handle.write(json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False) + "\n")


def write_masters(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    for name, frame in sorted(tables.items()):
        write_csv(folder / "master" / f"{name}.csv", frame)


def write_trace(folder: Path, frame: pd.DataFrame, columns: tuple[str, ...]) -> int:
    """Trace events by night: Parquet for what arrives in time, CSV for late and corrected rows. Returns the rows written."""
    frame = frame.sort_values(["arrival", "event_time", "event_id", "epc", "item_role"], kind="stable")
    schema = pa.schema([pa.field(name, _arrow_type(name)) for name in columns])
    arrival, late = frame["arrival"].to_numpy(), frame["late"].to_numpy(dtype=bool)
    texts = frame.assign(
        event_time=iso_times(frame["event_time"].to_numpy()), record_time=iso_times(frame["record_time"].to_numpy())
    )
    for night in np.unique(arrival).tolist():
        name = date_of(night).isoformat()
        part = texts[(arrival == night) & ~late][list(columns)]
        target = folder / "feeds" / "trace_events"
        target.mkdir(parents=True, exist_ok=True)
        if len(part):
            data = pa.Table.from_pandas(part, schema=schema, preserve_index=False).replace_schema_metadata(None)
            pq.write_table(data, target / f"{name}.parquet", compression="zstd")
        rest = texts[(arrival == night) & late][list(columns)]
        if len(rest):
            write_csv(target / f"{name}-late.csv", rest)
    return len(frame)


def _arrow_type(name: str) -> pa.DataType:
    kind = FEEDS["trace_events"][name].kind
    return {"double": pa.float64(), "decimal": pa.int64()}.get(kind, pa.string())


def write_nightly_csv(folder: Path, feed: str, frame: pd.DataFrame, columns: list[str]) -> int:
    """A feed as one CSV per night of `arrival` (day number)."""
    arrival = frame["arrival"].to_numpy()
    for night in np.unique(arrival).tolist():
        path = folder / "feeds" / feed / f"{date_of(night).isoformat()}.csv"
        write_csv(path, frame.loc[arrival == night, columns])
    return len(frame)


def write_nightly_jsonl(folder: Path, feed: str, frame: pd.DataFrame) -> int:
    """A feed as one JSON lines file per night of `arrival` (day number)."""
    arrival = frame["arrival"].to_numpy()
    content = frame.drop(columns="arrival").astype(object)
    content = content.where(content.notna(), None)
    for night in np.unique(arrival).tolist():
        path = folder / "feeds" / feed / f"{date_of(night).isoformat()}.jsonl"
        write_jsonl(path, content[arrival == night].to_dict("records"))
    return len(frame)


def day_columns(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Day numbers as ISO dates."""
    return frame.assign(**{name: iso_days(frame[name].to_numpy(dtype=np.int64)) for name in names})
