from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fangcuan.core.contract import Relation
from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import DECIDED, MASTERS
from fangcuan.simulate.spec import family_preset, preset
from fangcuan.simulate.worlds import World, simulate


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds") / "tiny"
    simulate(preset("tiny"), folder)
    return folder


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny world with ordinary travel and one family, written once per family."""
    made: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp("planted") / "world"
            simulate(family_preset(family), folder)
            made[family] = folder
        return made[family]

    return folder_of


@pytest.fixture(scope="session")
def sample() -> World:
    return World(preset("sample"))


@pytest.fixture(scope="session")
def clean() -> World:
    return World(preset("sample-clean"))


def read_feed(folder: Path, feed: str) -> pd.DataFrame:
    """All rows of a feed with `arrived_on` from the file name; values as they are in the files."""
    parts = []
    for path in sorted((folder / "feeds" / feed).iterdir()):
        if path.suffix == ".parquet":
            part = pq.read_table(path).to_pandas()
        elif path.suffix == ".csv":
            part = pd.read_csv(path, dtype=str)
        else:
            part = pd.read_json(path, lines=True, dtype=False)
        parts.append(part.assign(arrived_on=path.name[:10]))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="session")
def tiny_trace(tiny_folder: Path) -> pd.DataFrame:
    return read_feed(tiny_folder, "trace_events")


@pytest.fixture(scope="session")
def broken_rules() -> Callable[[Path], list[str]]:
    """A reader of world folders that knows the contract and nothing else."""
    return find_broken_rules


def find_broken_rules(folder: Path) -> list[str]:
    """Every way in which the folder breaks the contract, as `file: column: what`."""
    masters = {
        name: pd.read_csv(folder / "master" / f"{name}.csv", dtype=str) for name in MASTERS if name not in DECIDED
    }
    problems: list[str] = []
    for name, frame in masters.items():
        problems += _check(f"master/{name}", MASTERS[name], frame, masters)
        if len(frame) == 0:
            continue
        key = [column for column in MASTERS[name].key if column in frame]
        if frame.duplicated(key).any():
            problems.append(f"master/{name}: key {key} is not unique")
    for name, relation in FEEDS.items():
        for path in sorted((folder / "feeds" / name).iterdir()):
            if path.suffix == ".parquet":
                frame = pd.read_parquet(path)
            elif path.suffix == ".csv":
                frame = pd.read_csv(path, dtype=str)
            else:
                frame = pd.read_json(path, lines=True, dtype=False)
            problems += _check(f"feeds/{name}/{path.name}", relation, frame, masters)
            time = relation.time
            assert time is not None
            if (frame[time].astype(str).str[:10] > path.name[:10]).any():
                problems.append(f"feeds/{name}/{path.name}: {time}: later than the arrival")
    return problems


def _check(where: str, relation: Relation, frame: pd.DataFrame, masters: dict[str, pd.DataFrame]) -> list[str]:
    problems = [f"{where}: {name}: not in the contract" for name in frame.columns if name not in relation]
    for name in relation.required:
        if name not in frame or (len(frame) and frame[name].isna().any()):
            problems.append(f"{where}: {name}: required and missing")
    for column in relation.columns:
        if column.name not in frame:
            continue
        values = frame[column.name].dropna()
        if column.values and not values.isin(column.values).all():
            problems.append(f"{where}: {column.name}: {sorted(set(values) - set(column.values))}")
        if column.references:
            table, _, key = column.references.partition(".")
            unknown = set(values.astype(str)) - set(masters[table][key])
            if unknown:
                problems.append(f"{where}: {column.name}: unknown {sorted(unknown)[:3]}")
        if column.kind in {"decimal", "double", "integer"}:
            problems += _numbers(f"{where}: {column.name}", values, column.minimum, column.maximum)
        if column.kind == "timestamp" and not values.str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00").all():
            problems.append(f"{where}: {column.name}: not ISO 8601 with an offset")
        if column.kind == "date" and not values.str.fullmatch(r"\d{4}-\d\d-\d\d").all():
            problems.append(f"{where}: {column.name}: not an ISO date")
        if column.kind == "boolean" and not values.astype(str).str.lower().isin(["true", "false"]).all():
            problems.append(f"{where}: {column.name}: not true or false")
    return problems


def _numbers(where: str, values: pd.Series, minimum: float | None, maximum: float | None) -> list[str]:
    try:
        numbers = [Decimal(str(value)) for value in values]
    except InvalidOperation:
        return [f"{where}: not a number"]
    if minimum is not None and any(number < Decimal(str(minimum)) for number in numbers):
        return [f"{where}: below {minimum}"]
    if maximum is not None and any(number > Decimal(str(maximum)) for number in numbers):
        return [f"{where}: above {maximum}"]
    return []
