"""Captures: a listing page with everything about how it was asked for, as a WARC file in the evidence store.

A captured page is somebody else's text: it is stored, hashed and handed out as a file, and shown by nothing here.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, select
from warcio.recordloader import ArcWarcRecord
from warcio.warcwriter import WARCWriter

from fangcuan.cases.evidence.s3 import EvidenceUnreachable
from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.core.canonical import canonical_json, utc_text
from fangcuan.core.finding import SEVERITIES
from fangcuan.flow.capture_render import Rendered, render
from fangcuan.flow.capture_wire import (
    CLIENT,
    CaptureFailed,
    CaptureRefused,
    Exchange,
    Limits,
    checked_url,
    exchange,
)
from fangcuan.flow.casework import act
from fangcuan.flow.installation import Installation
from fangcuan.flow.night import evidence_of, findings_of, load_run
from fangcuan.store.casework import body_field, case_file, case_finding, event
from fangcuan.store.database import read, write

ACTOR = "service:capturing"
KIND = "case.captured"
PRICE, OBSERVATIONS = "price", "price_observations"


@dataclass(frozen=True)
class Capture:
    """`sha256` names the WARC file in the evidence store, `screenshot` a PNG there. `status` is that of the last answer;
    `complete` is False where an answer was cut short. `address` is the one that answered last.
    """

    url: str
    final_url: str
    sha256: str
    size: int
    at: dt.datetime
    status: int
    complete: bool
    address: str
    certificate_sha256: str | None = None
    screenshot: str | None = None

    def as_record(self) -> dict[str, Any]:
        return {**vars(self), "at": utc_text(self.at)}


def capture_into(
    installation: Installation, url: str, *, rendered: bool = False, limits: Limits | None = None
) -> Capture:
    """Fetch a page with its redirects, each checked, and store what went over the wire; `rendered`: and what a browser shows.

    Raises CaptureRefused for an address that may not be asked or an answer that cannot be kept, CaptureFailed for one that
    cannot be had. Nothing is stored then.
    """
    allow, bounds = installation.settings.capture_allow, limits or Limits()
    exchanges = _follow(checked_url(url), allow, bounds)
    last = exchanges[-1]
    seen = render(last.url, allow, bounds) if rendered else None
    screenshot = installation.evidence.put(seen.screenshot) if seen else None
    data = _warc(url, exchanges, seen)
    return Capture(
        url=url,
        final_url=last.url,
        sha256=installation.evidence.put(data),
        size=len(data),
        at=exchanges[0].at,
        status=last.status,
        complete=all(one.complete for one in exchanges),
        address=last.address,
        certificate_sha256=last.certificate_sha256,
        screenshot=screenshot,
    )


def attach_capture(
    installation: Installation, capture: Capture, number: str, *, actor: str | None = None, role: str | None = None
) -> dict[str, Any]:
    """Attach a capture to a case, in the name of whoever acts. Raises CommandRefused; the capture stays in the store then."""
    host = _host(capture.final_url)
    params = {"kind": "capture", "name": f"{host} {utc_text(capture.at)}", "sha256": capture.sha256}
    return act(installation, "attach", number, actor=actor, role=role, params=params)


def capture_findings(
    installation: Installation, run_id: str, *, limits: Limits | None = None, wait: Any = time.sleep
) -> dict[str, Any]:
    """Capture the listing pages behind the price cases of a run.

    {"state": "off" | "done", "captured", "known", "left", "problems"}. Off unless `capture_most` is set. The most severe come
    first, at most `capture_most` a night and `capture_most_per_host` of one host, with `capture_delay` seconds between two pages
    of it. Each is an event of its case; a page that the case has from this night already is not asked for again, so a run that
    was killed goes on where it was.
    """
    settings = installation.settings
    result: dict[str, Any] = {"state": "off", "captured": 0, "known": 0, "left": 0, "problems": []}
    if not settings.capture_most:
        return result
    night = load_run(installation, run_id).night
    hosts: Counter[str] = Counter()
    last_asked: dict[str, float] = {}
    for number, url, finding_ids in _listings(installation, run_id):
        if _is_known(installation, number, url, night):
            result["known"] += 1
            hosts[_host(url)] += 1
            continue
        host = _host(url)
        if sum(hosts.values()) >= settings.capture_most or hosts[host] >= settings.capture_most_per_host:
            result["left"] += 1
            continue
        hosts[host] += 1
        if host in last_asked:
            wait(max(0.0, last_asked[host] + settings.capture_delay - time.monotonic()))
        try:
            capture = capture_into(installation, url, limits=limits)
        except (CaptureRefused, CaptureFailed, EvidenceUnreachable) as error:
            result["problems"].append(f"{number}: {error}")
            continue
        finally:
            last_asked[host] = time.monotonic()
        with write(installation.engine) as connection:
            lock_head(connection)
            data = {"capture": capture.as_record(), "finding_ids": finding_ids}
            append(connection, [EventDraft(KIND, ACTOR, data, case=number, night=night)])
        result["captured"] += 1
    return {**result, "state": "done"}


def _follow(url: str, allow: Collection[str], limits: Limits) -> list[Exchange]:
    deadline = time.monotonic() + limits.seconds
    found: list[Exchange] = []
    following: str | None = url
    while following is not None:
        if len(found) > limits.redirects:
            raise CaptureRefused(f"{url}: more than {limits.redirects} redirects")
        left = limits.most_bytes - sum(len(one.response) for one in found)
        found.append(exchange(checked_url(following), allow, limits, deadline, left))
        following = found[-1].location
    return found


def _warc(url: str, exchanges: list[Exchange], seen: Rendered | None) -> bytes:
    """The file: per exchange request and response as they were, what the browser made of it, and the context as JSON."""
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True, warc_version="WARC/1.1")
    info = {"software": CLIENT, "format": "WARC File Format 1.1"}
    writer.write_record(writer.create_warcinfo_record("capture.warc.gz", info))
    for one in exchanges:
        headers = {"WARC-Date": _warc_date(one.at), "WARC-IP-Address": one.address}
        if not one.complete:
            headers["WARC-Truncated"] = "disconnect"
        response = _as_sent(writer, one.url, "response", one.response, headers)
        request = _as_sent(writer, one.url, "request", one.request, headers)
        writer.write_request_response_pair(request, response)
    last = exchanges[-1]
    beside = {"application/json": canonical_json(_context(url, exchanges, seen))}
    if seen is not None:
        beside |= {"text/html; charset=utf-8": seen.dom, "image/png": seen.screenshot}
    for content_type, data in beside.items():
        record = writer.create_warc_record(
            last.url,
            "metadata" if content_type == "application/json" else "resource",
            payload=io.BytesIO(data),
            length=len(data),
            warc_content_type=content_type,
            warc_headers_dict={"WARC-Date": _warc_date(last.at)},
        )
        writer.write_record(record)
    return out.getvalue()


def _as_sent(writer: WARCWriter, url: str, kind: str, message: bytes, headers: Mapping[str, str]) -> ArcWarcRecord:
    """A record with a message byte for byte; given it as its payload, the library would write the headers anew."""
    body = message.partition(b"\r\n\r\n")[2]
    digest = base64.b32encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()
    record = writer.create_warc_record(
        url, kind, warc_headers_dict={**headers, "WARC-Payload-Digest": f"sha1:{digest}"}
    )
    record.raw_stream = io.BytesIO(message)
    record.length = record.payload_length = len(message)
    return record


def _context(url: str, exchanges: list[Exchange], seen: Rendered | None) -> Mapping[str, Any]:
    asked = [
        {
            "url": one.url,
            "at": one.at,
            "address": one.address,
            "status": one.status,
            "complete": one.complete,
            "tls": one.tls,
            "certificate_sha256": one.certificate_sha256,
        }
        for one in exchanges
    ]
    browser = None if seen is None else {"version": seen.browser, "asked": list(seen.asked)}
    return {"url": url, "client": CLIENT, "exchanges": asked, "browser": browser}


def _warc_date(moment: dt.datetime) -> str:
    return utc_text(moment)


def _listings(installation: Installation, run_id: str) -> list[tuple[str, str, list[str]]]:
    """(case, listing URL, findings) of the price cases of a run, the most severe and then the oldest case first."""
    found = {one.finding_id: one for one in findings_of(installation, run_id) if one.family == PRICE}
    rows = evidence_of(installation, run_id)
    pages: dict[tuple[int, str, str], list[str]] = {}
    with read(installation.engine) as connection:
        for finding_id, one in sorted(found.items()):
            urls = {
                str(row["listing_url"])
                for ref in one.evidence
                if ref.relation == OBSERVATIONS
                and (row := rows.get((ref.relation, ref.key)))
                and row.get("listing_url")
            }
            for number in _cases_of(connection, finding_id) if urls else ():
                for url in urls:
                    rank = -SEVERITIES.index(one.severity)
                    pages.setdefault((rank, number, url), []).append(finding_id)
    listed: dict[tuple[str, str], list[str]] = {}
    for (_, number, url), finding_ids in sorted(pages.items()):
        listed.setdefault((number, url), []).extend(finding_ids)
    return [(number, url, sorted(set(finding_ids))) for (number, url), finding_ids in listed.items()]


def _cases_of(connection: Connection, reported_id: str) -> list[str]:
    """Open cases that hold what a run reported under an id."""
    from fangcuan.store.casework import finding_occurrence

    joined = (
        select(case_finding.c.number)
        .join(finding_occurrence, finding_occurrence.c.finding_id == case_finding.c.finding_id)
        .join(case_file, case_file.c.number == case_finding.c.number)
        .where(finding_occurrence.c.reported_id == reported_id, case_file.c.is_open)
    )
    return sorted(set(connection.execute(joined).scalars()))


def _is_known(installation: Installation, number: str, url: str, night: dt.date) -> bool:
    """Whether the case has this page from this night."""
    mine = (body_field("case") == number, body_field("kind") == KIND, body_field("night") == night.isoformat())
    with read(installation.engine) as connection:
        bodies = connection.execute(select(event.c.body).where(*mine)).scalars().all()
    return any(json.loads(body)["data"]["capture"]["url"] == url for body in bodies)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
