"""The public data sets, run as a brand would run its own: an installation per set, its nights pulled and judged.

Each set has its own home below one folder, because a brand has one time zone and one currency; `--home …/<set>` then shows its
cases. Everything is yielded as plain dictionaries; whoever calls prints them.
"""

from __future__ import annotations

import datetime as dt
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fangcuan.flow import pulling
from fangcuan.flow.approve import approve_shipped
from fangcuan.flow.configured import source_folders
from fangcuan.flow.installation import Installation, initialise, open_installation
from fangcuan.flow.nightly import judge_night
from fangcuan.flow.policies import approve_shipped_policies

#: Where the data lies; the sources' own paths begin with it.
VARIABLE = "FANGCUAN_REAL_DATA"

#: Two gigabytes for the engine keep a whole run, Python included, below four; what does not fit spills to disk.
MEMORY_LIMIT = "2GB"

Progress = Callable[[str], None]


class DataMissing(Exception):
    """The data sets are not on this machine; the message says how to point to them."""


@dataclass(frozen=True)
class RealSet:
    """One data set: where it lies below the data folder, the brand it is run as, and the nights to judge."""

    id: str
    folder: str
    about_en: str
    about_zh: str
    timezone: str
    currency: str
    nights: tuple[dt.date, ...]
    #: The first night looks at years at once; its owner says how many cases that may bring.
    max_cases: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        """The set's source folders: those whose name begins with its own."""
        return tuple(key for key in sorted(source_folders()) if key == self.id or key.startswith(f"{self.id}_"))


SETS: dict[str, RealSet] = {
    item.id: item
    for item in (
        RealSet(
            "epcis_documents",
            "epcis",
            "GS1's official EPCIS documents: every one loads or is refused for a reason",
            "GS1 官方 EPCIS 文档：逐份载入，或说明拒收原因",
            "UTC",
            "EUR",
            (dt.date(2026, 1, 31),),
        ),
        RealSet(
            "regions_cn",
            "geo_cn",
            "Chinese provinces, prefectures, counties and who borders whom",
            "中国省、市、县与相邻关系",
            "Asia/Shanghai",
            "CNY",
            (dt.date(2026, 1, 31),),
        ),
        RealSet(
            "bikeshare14",
            "bikeshare14",
            "687 numbered bikes in five cities: where the chain of custody does not close",
            "五城 687 辆编号单车：流转链条在哪里断裂",
            "America/Los_Angeles",
            "USD",
            (dt.date(2015, 6, 30),),
        ),
        RealSet(
            "mandi_msp",
            "mandi_msp",
            "349 Indian markets against the government's minimum support price",
            "印度 349 个市场价格与政府最低支持价对照",
            "Asia/Kolkata",
            "INR",
            (dt.date(2016, 11, 30),),
            max_cases=2_000,
        ),
        RealSet(
            "iowa_liquor",
            "iowa_liquor",
            "3.4 million invoice lines against the State's price of the month",
            "340 万发票行与州政府月度售价对照",
            "America/Chicago",
            "USD",
            (dt.date(2022, 10, 31),),
        ),
        RealSet(
            "fuel_it",
            "fuel_it",
            "3.9 million prices of Italian fuel stations against the province's median",
            "390 万条意大利加油站价格与省内中位数对照",
            "Europe/Rome",
            "EUR",
            (dt.date(2026, 8, 21),),
        ),
    )
}


def data_folder(given: Path | None = None) -> Path:
    """The folder of the data sets: the one given, else FANGCUAN_REAL_DATA. Raises DataMissing."""
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is None or not named.is_dir():
        what = f"{named} is no folder" if named else f"{VARIABLE} is not set"
        raise DataMissing(f"the public data sets are not here: {what}; set {VARIABLE} to the folder that holds them")
    return named.resolve()


def available(data: Path | None = None) -> list[str]:
    """Ids of the sets whose data is there, in the order they are run. Raises DataMissing."""
    folder = data_folder(data)
    return [key for key, item in SETS.items() if (folder / item.folder).is_dir()]


def install(home: Path, set_id: str) -> Installation:
    """The installation of one set below `home`, made where it is not there yet."""
    item = SETS[set_id]
    made = initialise(
        home / set_id,
        timezone=item.timezone,
        currency=item.currency,
        sources=item.sources,
        max_cases=item.max_cases or None,
        memory_limit=MEMORY_LIMIT,
    )
    approve_shipped(made)
    approve_shipped_policies(made)
    return made


def installed(home: Path, set_id: str) -> Installation:
    """The installation of one set that was run before."""
    return open_installation(home / set_id)


def run_all(
    home: Path,
    sets: Sequence[str] | None = None,
    *,
    data: Path | None = None,
    progress: Progress = lambda message: None,
) -> Iterator[dict[str, Any]]:
    """Run the sets (all that are there by default) one after the other; see `run_set` for what is yielded."""
    for set_id in sets if sets is not None else available(data):
        yield from run_set(home, set_id, data=data, progress=progress)


def run_set(
    home: Path, set_id: str, *, data: Path | None = None, progress: Progress = lambda message: None
) -> Iterator[dict[str, Any]]:
    """Pull and judge the nights of one set. Yields, each with `kind` and `set`:

    `set` (about, home, timezone, nights) · `pull` (a source's result with its seconds) · `night` (the night's summary with its
    seconds) · `done` (seconds, peak memory of this process in bytes, rows loaded, cases opened). Running it again changes
    nothing.
    """
    item = SETS[set_id]
    folder = data_folder(data)
    if not (folder / item.folder).is_dir():
        raise DataMissing(f"{folder / item.folder} is not there; {set_id} needs it")
    started = time.monotonic()
    with _pointing_to(folder):
        place = install(home, set_id)
        described = {name: value for name, value in asdict(item).items() if name not in {"id", "folder", "nights"}}
        nights = [night.isoformat() for night in item.nights]
        yield {"kind": "set", "set": set_id, "home": str(place.settings.home), "nights": nights, **described}
        rows = cases = 0
        for night in item.nights:
            began = time.monotonic()
            for result in pulling.pull_all(place, night, progress=progress):
                now = time.monotonic()
                rows += result["rows_loaded"]
                yield {"kind": "pull", "set": set_id, **result, "seconds": round(now - began, 2)}
                began = time.monotonic()
            summary = judge_night(place, night, pull=False, progress=progress)
            cases += summary.get("cases_opened", 0)
            yield {"kind": "night", "set": set_id, **summary, "seconds": round(time.monotonic() - began, 2)}
    yield {
        "kind": "done",
        "set": set_id,
        "seconds": round(time.monotonic() - started, 2),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "rows_loaded": rows,
        "cases_opened": cases,
    }


@contextmanager
def _pointing_to(folder: Path) -> Iterator[None]:
    """With FANGCUAN_REAL_DATA set to `folder`, as the sources' paths expect."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
