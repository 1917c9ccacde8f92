"""Local time as whole seconds: every moment of a world is an int64 of seconds since 1970-01-01T00:00 local time.

The brand's zone is Asia/Shanghai, which has had one offset since 1991, so local seconds are enough.
"""

from __future__ import annotations

import datetime as dt

import numpy as np

OFFSET = "+08:00"
DAY = 86_400
HOUR = 3_600
MINUTE = 60
EPOCH = dt.date(1970, 1, 1)


def day_number(day: dt.date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def seconds(day: dt.date) -> int:
    """Local midnight of `day`."""
    return day_number(day) * DAY


def iso_times(moments: np.ndarray) -> np.ndarray:
    """ISO 8601 texts with the offset; negative moments stand for "not known" and give None."""
    texts = np.char.add(np.datetime_as_string(moments.astype("datetime64[s]"), unit="s"), OFFSET).astype(object)
    texts[moments < 0] = None
    return texts


def iso_days(days: np.ndarray) -> np.ndarray:
    """ISO dates of day numbers; negative numbers give None."""
    texts = np.datetime_as_string(days.astype("datetime64[D]"), unit="D").astype(object)
    texts[days < 0] = None
    return texts


def date_of(day: int) -> dt.date:
    return EPOCH + dt.timedelta(days=int(day))


def stamp(day: dt.date, hour: int = 9, minute: int = 0) -> str:
    """ISO text of one moment of a local day."""
    return f"{day.isoformat()}T{hour:02d}:{minute:02d}:00{OFFSET}"


def weekday(days: np.ndarray) -> np.ndarray:
    """0 = Monday."""
    return (days + 3) % 7


def office_hours(rng: np.random.Generator, days: np.ndarray) -> np.ndarray:
    """Moments on the given days between 8:30 and 17:30."""
    return days.astype(np.int64) * DAY + rng.integers(8 * HOUR + 30 * MINUTE, 17 * HOUR + 30 * MINUTE, len(days))


def waking_hours(rng: np.random.Generator, days: np.ndarray) -> np.ndarray:
    """Moments on the given days between 7:00 and 23:00, evenings more often: when consumers scan."""
    hours = 7 + 16 * rng.beta(2.2, 1.5, len(days))
    return days.astype(np.int64) * DAY + (hours * HOUR).astype(np.int64)
