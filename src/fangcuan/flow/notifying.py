"""Sending what the outbox holds: through apprise, one channel beside the other, each message claimed before it leaves."""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from fangcuan.cases.history.verification import Verification
from fangcuan.cases.notifying import notifications, outbox
from fangcuan.cases.notifying.notifications import Message, NoticeError
from fangcuan.cases.people.channels import list_choices
from fangcuan.core import failpoints
from fangcuan.flow.installation import Installation
from fangcuan.ingest import secrets
from fangcuan.ingest.secrets import SecretMissing
from fangcuan.settings import SettingsError

#: What an address may begin with: mail, WeCom, DingTalk, Feishu (Lark), Slack, and a webhook of one's own that takes JSON.
SCHEMES = frozenset({"mailto", "mailtos", "wecombot", "dingtalk", "feishu", "lark", "slack", "json", "jsons"})
#: Failures in a row after which a channel is left alone until the next time.
FAILURES = 3
#: Channels sent to at the same time: a slow one holds up its own messages only.
AT_ONCE = 8
#: How far back a message that was given up is worth an alarm.
RECENT = dt.timedelta(days=7)


class ChannelUnusable(Exception):
    """A channel has no address, or one of another kind; the message never shows it."""


def send_due(installation: Installation, *, now: dt.datetime | None = None) -> dict[str, Any]:
    """Send what is due: {"sent", "failed", "given_up", "left", "problems": ["channel: why"]}.

    A message that fails is tried again later, and given up after some hours; a channel that fails holds up no other one.
    Safe at once with any number of others. Whoever is killed between sending and writing it down makes one message come twice.
    """
    engine, base_url = installation.engine, _base(installation)
    channels = outbox.channels_due(engine, now or dt.datetime.now(dt.UTC))
    sender = f"{socket.gethostname()}/{os.getpid()}/{token_hex(4)}"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(lambda channel: _send_channel(engine, channel, sender, base_url, now), channels))
    total: dict[str, Any] = {name: sum(one[name] for one in done) for name in ("sent", "failed", "given_up")}
    counts = outbox.state_counts(engine)
    left = counts.get("queued", 0) + counts.get("claimed", 0)
    return {**total, "left": left, "problems": sorted(problem for one in done for problem in one["problems"])}


def given_up(installation: Installation, *, now: dt.datetime | None = None) -> int:
    """Messages of the last days that reached nobody: what upkeep and verification warn of."""
    since = (now or dt.datetime.now(dt.UTC)) - RECENT
    return outbox.state_counts(installation.engine, since).get("given_up", 0)


def alarm_of(installation: Installation, verification: Verification, *, now: dt.datetime | None = None) -> str | None:
    """Tell administrators and auditors, once a day, that the history does not verify; in words what was done, None if it does.

    It goes straight to the outbox: an event would have to continue the chain that may be broken.
    """
    if not verification.exit_code:
        return None
    moment = now or dt.datetime.now(dt.UTC)
    day = moment.astimezone(installation.settings.zone).date()
    try:
        queued = outbox.alarm(installation.engine, "verify_failed", day.isoformat(), now=moment)
    except SQLAlchemyError as error:
        return f"nobody could be told: {type(error).__name__} in the casebook"
    if queued:
        return f"{queued} notifications queued; `fangcuan notify send` sends them"
    return (
        "nobody new to tell: told today already, or no administrator or auditor has a channel (`fangcuan users notify`)"
    )


def channels(installation: Installation) -> list[dict[str, Any]]:
    """Every channel that somebody chose: {"channel", "users", "usable", "problem"}; its address is shown nowhere."""
    users: dict[str, list[str]] = {}
    for choice in list_choices(installation.engine):
        for channel in choice["channels"]:
            users.setdefault(channel, []).append(choice["user_id"])
    found = []
    for channel, names in sorted(users.items()):
        problem = None
        try:
            open_channel(channel)
        except ChannelUnusable as error:
            problem = str(error)
        found.append({"channel": channel, "users": names, "usable": problem is None, "problem": problem})
    return found


def open_channel(channel: str) -> tuple[Any, str]:
    """The apprise service of a channel, and its address. Raises ChannelUnusable: no such secret, or another kind."""
    import apprise

    name = f"notify_{channel}"
    try:
        address = secrets.get(name)
    except SecretMissing as error:
        raise ChannelUnusable(str(error)) from error
    allowed = ", ".join(f"{scheme}://" for scheme in sorted(SCHEMES))
    if urlsplit(address).scheme.lower() not in SCHEMES:
        raise ChannelUnusable(f"secret {name!r}: expected an address that begins with one of {allowed}")
    asset = apprise.AppriseAsset(
        app_id="Fangcuan", app_desc="Fangcuan", app_url="", image_url_mask="", image_url_logo="", async_mode=False
    )
    with _Heard(address) as heard:
        service = apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
    if service is None:
        raise ChannelUnusable(f"secret {name!r}: the address is not complete{heard.words()}")
    return service, address


def _send_channel(engine: Engine, channel: str, sender: str, base_url: str, now: dt.datetime | None) -> dict[str, Any]:
    done: dict[str, Any] = {"sent": 0, "failed": 0, "given_up": 0, "problems": []}
    in_a_row = 0
    service: tuple[Any, str] | None = None
    while in_a_row < FAILURES:
        row = outbox.claim(engine, channel, sender, now or dt.datetime.now(dt.UTC))
        if row is None:
            return done
        failure: str | None
        try:
            message = notifications.write_out(row.notice, row.language, row.number, base_url)
            service = service or open_channel(channel)
            failure = _send(*service, message)
        except (ChannelUnusable, NoticeError) as error:
            failure = str(error)
        failpoints.hit("notify.sent")
        state = outbox.finish(engine, row, sender, now or dt.datetime.now(dt.UTC), failure)
        in_a_row = 0 if failure is None else in_a_row + 1
        if failure is None:
            done["sent"] += state == "sent"
            continue
        done["failed"] += 1
        done["given_up"] += state == "given_up"
        if f"{channel}: {failure}" not in done["problems"]:
            done["problems"].append(f"{channel}: {failure}")
    done["given_up"] += outbox.give_up_old(engine, channel, now or dt.datetime.now(dt.UTC))
    return done


def _send(service: Any, address: str, message: Message) -> str | None:
    """Why it was not sent; None where it was."""
    import apprise

    with _Heard(address) as heard:
        try:
            if service.notify(
                title=message.title,
                body=message.text,
                body_format=apprise.NotifyFormat.TEXT,
                notify_type=apprise.NotifyType.INFO,
            ):
                return None
        except Exception as error:  # Each service raises its own; one that does must not stop the others.
            return _hidden(f"{type(error).__name__}: {error}", address)
    return heard.words().removeprefix(": ") or "the channel refused it"


class _Heard(logging.Handler):
    """What apprise says of a failure, which it logs and does not return; only what this thread caused."""

    def __init__(self, address: str) -> None:
        super().__init__(logging.WARNING)
        self._address, self._thread, self._lines = address, threading.get_ident(), list[str]()

    def __enter__(self) -> _Heard:
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._lines.append(_hidden(record.getMessage(), self._address))

    def words(self) -> str:
        """`: ` and the last line, cut short; nothing where nothing was said."""
        return f": {self._lines[-1][:300]}" if self._lines else ""


def _hidden(text: str, address: str) -> str:
    """A text without any part of an address: its tokens and passwords are secrets."""
    _, _, rest = address.partition("://")
    found = {part for text in (rest, unquote(rest)) for part in re.split(r"[/@:?&=,;#]+", text)}
    parts = sorted((part for part in found if len(part) > 3), key=len, reverse=True)
    return " ".join(secrets.scrub(text, address, *parts).split())


def _base(installation: Installation) -> str:
    try:
        return notifications.check_base(installation.settings.base_url)
    except NoticeError as error:
        raise SettingsError(str(error)) from error
