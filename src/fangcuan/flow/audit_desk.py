"""The auditor's desk in one installation: samples, reviews, and whether equal cases were treated equally."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from sqlalchemy import select

from fangcuan.cases.auditing import consistency
from fangcuan.cases.auditing import samples as audit_sample
from fangcuan.cases.auditing.samples import SampleFilter
from fangcuan.cases.auditing.treatment import Asked, treated
from fangcuan.cases.executor import Command, execute
from fangcuan.core.canonical import plain
from fangcuan.flow.accounts import acting
from fangcuan.flow.installation import Installation
from fangcuan.store.casework import event
from fangcuan.store.database import read


def draw(
    installation: Installation,
    *,
    count: int,
    seed: str,
    actor: str | None = None,
    undecided: bool = False,
    since: str | None = None,
    until: str | None = None,
    family: str | None = None,
    status: str | None = None,
) -> dict[str, Any]:
    """Draw a sample and record it; see `cases.auditing.samples.draw_sample`. `undecided`: also of cases nobody decided."""
    filters = SampleFilter(not undecided, family, status, since, until, installation.settings.timezone)
    who = acting(installation, actor)
    return audit_sample.draw_sample(installation.engine, who, count=count, seed=seed, filters=filters)


def review(
    installation: Installation,
    number: str,
    *,
    result: str,
    reasons: Sequence[str] = (),
    note: str | None = None,
    sample: int | None = None,
    version: int | None = None,
    actor: str | None = None,
) -> dict[str, Any]:
    """Write a review of a case: {"number", "review", "case_version", "seq"}. Raises CommandRefused.

    `version` is the version of the case that was looked at; the review is refused where the case has gone on since.
    """
    given = {"result": result, "reasons": list(reasons), "note": note, "sample": sample}
    params = {name: value for name, value in given.items() if value is not None}
    command = Command("review", number, acting(installation, actor), uuid4().hex, version, params)
    done = execute(installation.engine, command)
    with read(installation.engine) as connection:
        body = connection.execute(select(event.c.body).where(event.c.seq == done.seq)).scalar_one()
    written = json.loads(body)["data"]["audit_review"]
    return {"number": number, "review": written["review"], "case_version": written["case_version"], "seq": done.seq}


def compare(
    installation: Installation,
    *,
    by: str,
    of: str,
    since: dt.date | None = None,
    until: dt.date | None = None,
    family: str | None = None,
    level: str | None = None,
) -> dict[str, Any]:
    """The consistency audit: what was compared, what could not be, and the treatment of each group, the most unequal first.

    {"cases", "strata", "left_out": {reason: cases}, "fewest", "level", "items"}; items as `consistency.Treatment`.
    """
    asked = Asked(by, of, since, until, installation.settings.timezone, family, level)
    with read(installation.engine) as connection:
        cases, left_out = treated(connection, asked)
    if of == "sanction":
        left_out |= {"no sanction on record": sum(case.sanction is None for case in cases)}
        cases = consistency.above_median(cases)
    items = [plain(asdict(one)) for one in consistency.compare(cases)]
    items.sort(key=lambda one: (one["p"] is None, one["p"] or 0, one["group"]))
    return {
        "by": by,
        "of": of,
        "family": family,
        "from": plain(since),
        "to": plain(until),
        "cases": len(cases),
        "strata": len({case.stratum for case in cases}),
        "left_out": {reason: count for reason, count in sorted(left_out.items()) if count},
        "fewest": consistency.FEWEST,
        "level": consistency.LEVEL,
        "items": items,
    }
