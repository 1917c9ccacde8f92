"""Times of EPCIS: ISO 8601 with a zone, and the canonical form of the event hash."""

from __future__ import annotations

import datetime as dt
import re

#: RFC 3339 date-time; EPCIS asks for the zone, because a time without one cannot be placed.
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))")
#: Zone offset of EPCIS: ±hh:mm, at most 14:00 (the range of XML Schema).
OFFSET = re.compile(r"[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00)")


def parse(text: str) -> tuple[dt.datetime, str]:
    """The instant as UTC (whole seconds) and the digits after the decimal point.

    Raises ValueError where `text` is not a date-time with a zone, or is outside the years 1 to 9999 in UTC.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an ISO 8601 time with a zone")
    year, month, day, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
    leap = second == 60
    moment = dt.datetime(year, month, day, hour, minute, 59 if leap else second)
    if match.group(9):
        hours, minutes = int(match.group(10)), int(match.group(11))
        if hours > 23 or minutes > 59:
            raise ValueError(f"{text!r} has an impossible zone")
        shift = dt.timedelta(hours=hours, minutes=minutes)
        try:
            moment = moment - shift if match.group(9) == "+" else moment + shift
        except OverflowError as error:
            raise ValueError(f"{text!r} is outside the calendar") from error
    # A leap second is the last instant of its minute; no calendar here has a 60th second.
    return moment, "999999" if leap else (match.group(7) or "")


def is_time(text: str) -> bool:
    """Whether `text` is a date-time with a zone."""
    try:
        parse(text)
    except ValueError:
        return False
    return True


def canonical(text: str) -> str:
    """UTC with exactly three decimals, half rounded up (CBV 2.0, section 8.9.3): `2020-03-04T10:00:30.000Z`."""
    moment, digits = parse(text)
    milliseconds = int((digits + "000")[:3])
    if len(digits) > 3 and digits[3] >= "5":
        milliseconds += 1
    try:
        moment += dt.timedelta(milliseconds=milliseconds)
    except OverflowError as error:
        raise ValueError(f"{text!r} is outside the calendar") from error
    # %Y is not padded on every platform, isoformat is.
    return moment.replace(microsecond=0).isoformat() + f".{moment.microsecond // 1000:03d}Z"
