"""Notifications that really leave: to a mail server and webhooks on this machine, by one sender, two, and a killed one."""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from typer.testing import CliRunner

from fangcuan import flow
from fangcuan.cases.notifying import outbox
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.accounts import add_first_admin, add_user
from fangcuan.cases.people.channels import choose_channels
from fangcuan.cases.people.grants import grant_role
from fangcuan.flow import notifying
from fangcuan.flow.installation import Installation
from fangcuan.store.database import write

BOSS = Actor("user:boss")
BASE = "https://fangcuan.example.com"


@dataclass
class Sink:
    """A webhook: what came, and how it answers."""

    port: int = 0
    status: int = 200
    delay: float = 0.0
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def sink() -> Iterator[Sink]:
    state = Sink()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            time.sleep(state.delay)
            state.got.append((self.path, json.loads(body)))
            # What DingTalk, Feishu and WeCom say when they took it.
            answer = b"ok" if "slack" in self.path else b'{"errcode": 0, "code": 0, "errmsg": "ok"}'
            self.send_response(state.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.port = server.server_address[1]
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def mails() -> Iterator[tuple[int, list[Any]]]:
    """Port of a mail server, and the messages it took: (recipients, raw bytes)."""
    taken: list[Any] = []

    class Taking:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            taken.append((envelope.rcpt_tos, envelope.content))
            return "250 OK"

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(Taking(), hostname="127.0.0.1", port=port, ready_timeout=30)
    controller.start()
    yield port, taken
    controller.stop()


@pytest.fixture
def home(new_home: Callable[..., Installation]) -> Installation:
    place = new_home(base_url=BASE)
    add_first_admin(place.engine, "boss", name="Boss")
    for user in ("ling", "qian"):
        add_user(place.engine, BOSS, user, name=f"{user.title()}\r\nBcc: everybody@example.com")
    grant_role(place.engine, BOSS, "qian", "auditor")
    return place


def address(monkeypatch: pytest.MonkeyPatch, channel: str, text: str) -> None:
    monkeypatch.setenv(f"FANGCUAN_SECRET_NOTIFY_{channel.upper()}", text)


def alarms(home: Installation, count: int, *channels: str) -> None:
    """`count` messages for each channel."""
    choose_channels(home.engine, BOSS, "qian", channels, language="en")
    for n in range(count):
        assert outbox.alarm(home.engine, "verify_failed", f"day-{n}") == len(channels)


def states(home: Installation) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for row in outbox.list_messages(home.engine):
        found.setdefault(row["channel"], Counter())[row["state"]] += 1
    return {channel: dict(counted) for channel, counted in found.items()}


def test_a_mail_is_one_line_of_subject_and_a_link(
    home: Installation, mails: tuple[int, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, taken = mails
    address(monkeypatch, "mail", f"mailto://127.0.0.1:{port}?from=fangcuan@example.com&to=qian@example.com&format=text")
    alarms(home, 1, "mail")
    done = notifying.send_due(home)
    assert done == {"sent": 1, "failed": 0, "given_up": 0, "left": 0, "problems": []}
    ((recipients, raw),) = taken
    assert recipients == ["qian@example.com"]
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["subject"] == "The history of the casebook does not verify"
    assert b"everybody@example.com" not in raw
    assert message.get("bcc") is None
    body = message.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == f"Please run fangcuan audit verify at once. {BASE}"
    assert notifying.send_due(home)["sent"] == 0


#: Robots by the class of apprise that knows them, its attribute with their address, and a secret in their form.
ROBOTS = {
    "wecom": ("wecombot", "NotifyWeComBot", "wecombot://botkey1234567890"),
    "dingtalk": ("dingtalk", "NotifyDingTalk", "dingtalk://abcdefabcdef1234567890"),
    "feishu": ("feishu", "NotifyFeishu", "feishu://tokenabc123456"),
    "slack": ("slack", "NotifySlack", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"),
}


@pytest.mark.parametrize("kind", ROBOTS)
def test_robots_get_title_and_link_in_their_own_form(
    kind: str, home: Installation, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their hosts stand in apprise; only those are replaced, by a server here."""
    import importlib

    module, name, secret = ROBOTS[kind]
    plugin = getattr(importlib.import_module(f"apprise.plugins.{module}"), name)
    attribute = "webhook_url" if kind == "slack" else "notify_url"
    suffix = {"dingtalk": "/{token}", "wecom": "/{key}", "feishu": "/{token}"}.get(kind, "/slack")
    monkeypatch.setattr(plugin, attribute, f"http://127.0.0.1:{sink.port}{suffix}")
    address(monkeypatch, kind, secret)
    alarms(home, 1, kind)
    done = notifying.send_due(home)
    assert (done["sent"], done["problems"]) == (1, [])
    ((_, body),) = sink.got
    text = json.dumps(body, ensure_ascii=False)
    assert "The history of the casebook does not verify" in text
    assert BASE in text


def test_a_channel_that_fails_or_is_slow_holds_up_no_other(
    home: Installation, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    address(monkeypatch, "good", f"json://127.0.0.1:{sink.port}/good")
    address(monkeypatch, "dead", "json://127.0.0.1:9/SecretToken77")
    address(monkeypatch, "shell", "syslog://localhost")
    alarms(home, 5, "dead", "good", "missing", "shell")
    done = notifying.send_due(home)
    assert states(home) == {
        "good": {"sent": 5},
        **{channel: {"queued": 5} for channel in ("dead", "missing", "shell")},
    }
    assert (done["sent"], done["failed"], done["left"]) == (5, 3 * notifying.FAILURES, 15)
    tried = {row["channel"]: row["attempts"] for row in outbox.list_messages(home.engine) if row["attempts"]}
    assert set(tried) == {"good", "dead", "missing", "shell"}
    problems = "\n".join(done["problems"])
    assert "missing: secret 'notify_missing' is missing" in problems
    assert "shell: secret 'notify_shell': expected an address that begins with one of dingtalk://" in problems
    stored = json.dumps(outbox.list_messages(home.engine))
    assert "SecretToken77" not in problems + stored
    # The channel comes back: nothing is lost, and nothing comes twice.
    address(monkeypatch, "dead", f"json://127.0.0.1:{sink.port}/dead")
    again = notifying.send_due(home, now=dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2))
    assert again["sent"] == 5
    assert Counter(path for path, _ in sink.got) == {"/good": 5, "/dead": 5}


def test_a_refused_message_is_given_up_and_told(
    home: Installation, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANGCUAN_HOME", str(home.settings.home))
    sink.status = 500
    address(monkeypatch, "hook", f"json://127.0.0.1:{sink.port}/token-of-the-hook")
    alarms(home, 1, "hook")
    moment = dt.datetime.now(dt.UTC)
    results = []
    for _ in range(outbox.MOST_ATTEMPTS):
        results.append(notifying.send_due(home, now=moment))
        moment += dt.timedelta(hours=5)
    assert [one["given_up"] for one in results] == [0, 0, 0, 0, 0, 1]
    assert len(sink.got) == outbox.MOST_ATTEMPTS
    (row,) = outbox.list_messages(home.engine)
    assert row["state"] == "given_up"
    assert "500" in row["message"]
    assert "token-of-the-hook" not in row["message"]
    assert flow.tidy()["notifications_given_up"] == 1
    sink.status = 200
    assert outbox.try_again(home.engine, moment) == 1
    assert notifying.send_due(home, now=moment)["sent"] == 1
    assert flow.tidy()["notifications_given_up"] == 0


SEND = "from fangcuan.flow import send_notifications; send_notifications()"


def run_sender(home: Installation, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SEND],
        env={**os.environ, "FANGCUAN_HOME": str(home.settings.home), **environment},
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(("failpoint", "repeats"), [("notify.claimed", 0), ("notify.sent", 1)])
def test_a_killed_sender_costs_one_repeat_at_most(
    home: Installation, sink: Sink, monkeypatch: pytest.MonkeyPatch, failpoint: str, repeats: int
) -> None:
    address(monkeypatch, "hook", f"json://127.0.0.1:{sink.port}/")
    alarms(home, 3, "hook")
    assert run_sender(home, FANGCUAN_FAILPOINT=f"{failpoint}:2").wait(60) == -signal.SIGKILL
    assert states(home) == {"hook": {"sent": 1, "claimed": 1, "queued": 1}}
    assert notifying.send_due(home)["sent"] == 1, "the claim of the killed one still holds"
    assert notifying.send_due(home, now=dt.datetime.now(dt.UTC) + outbox.CLAIM)["sent"] == 1
    assert len(sink.got) == 3 + repeats
    assert states(home) == {"hook": {"sent": 3}}


def test_two_senders_at_once_send_each_message_once(
    home: Installation, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    address(monkeypatch, "hook", f"json://127.0.0.1:{sink.port}/")
    sink.delay = 0.05
    alarms(home, 20, "hook")
    assert [one.wait(120) for one in (run_sender(home), run_sender(home))] == [0, 0]
    assert len(sink.got) == 20
    assert states(home) == {"hook": {"sent": 20}}


def test_a_history_that_does_not_verify_is_told_once_a_day(
    home: Installation, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANGCUAN_HOME", str(home.settings.home))
    address(monkeypatch, "hook", f"json://127.0.0.1:{sink.port}/")
    choose_channels(home.engine, BOSS, "qian", ["hook"], language="zh")
    assert flow.audit_verify()["told"] is None
    with write(home.engine) as connection:
        connection.exec_driver_sql("update account set name = 'Somebody else' where user_id = 'ling'")
    first = flow.audit_verify()
    assert first["exit_code"] == 4
    assert "1 notifications queued" in first["told"]
    assert "told today already" in flow.audit_verify()["told"]
    assert flow.send_notifications()["sent"] == 1
    ((_, body),) = sink.got
    assert body["title"] == "案卷历史核验未通过"
    with write(home.engine) as connection:
        connection.exec_driver_sql("drop table outbox_attempt")
        connection.exec_driver_sql("drop table outbox")
    assert "nobody could be told" in flow.audit_verify()["told"], "the verdict does not hang on the alarm"


def test_the_commands(home: Installation, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    from fangcuan.cli.main import app

    def ask(*arguments: str) -> tuple[int, Any]:
        done = CliRunner().invoke(app, [*arguments, "--home", str(home.settings.home), "--json"])
        return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else done.output

    monkeypatch.setenv("FANGCUAN_USER", "boss")
    code, chosen = ask("users", "notify", "qian", "hook", "gone", "--language", "en")
    assert (code, chosen) == (0, {"user": "qian", "channels": ["hook", "gone"], "language": "en"})
    assert ask("users", "notify", "qian", "json://127.0.0.1/token")[0] == 1
    address(monkeypatch, "hook", f"json://127.0.0.1:{sink.port}/")
    code, listed = ask("notify", "channels")
    assert [(one["channel"], one["usable"]) for one in listed["items"]] == [("gone", False), ("hook", True)]
    with write(home.engine) as connection:
        connection.exec_driver_sql("update account set name = 'Somebody else' where user_id = 'ling'")
    code, verified = ask("audit", "verify", "--notify")
    assert (code, verified["told"].split()[0]) == (4, "2")
    code, sent = ask("notify", "send")
    assert (code, sent["sent"], sent["failed"], sent["left"]) == (1, 1, 1, 1)
    code, listed = ask("notify", "list")
    assert [(one["channel"], one["state"], one["attempts"]) for one in listed["items"]] == [
        ("gone", "queued", 1),
        ("hook", "sent", 1),
    ] or [(one["channel"], one["state"]) for one in listed["items"]] == [("hook", "sent"), ("gone", "queued")]
    assert ask("notify", "list") == (code, listed)
    assert ask("notify", "list", "--state", "sent")[1]["items"][0]["channel"] == "hook"
    assert ask("notify", "retry") == (0, {"queued": 0})


def test_a_wrong_base_url_stops_before_anything_is_claimed(
    home: Installation, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fangcuan.flow.installation import open_installation
    from fangcuan.settings import SettingsError

    address(monkeypatch, "hook", f"json://127.0.0.1:{sink.port}/")
    alarms(home, 1, "hook")
    monkeypatch.setenv("FANGCUAN_BASE_URL", "https://user:secret@example.com")
    with pytest.raises(SettingsError, match="base_url"):
        notifying.send_due(open_installation(home.settings.home))
    assert states(home) == {"hook": {"queued": 1}}
