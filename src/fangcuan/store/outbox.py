"""Tables of notifications: who is reached how, what has to go out, and every attempt to send it."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text

from fangcuan.store.base import Base, BigInt, CanonicalJson, UtcDateTime

METADATA = Base.metadata

#: `channels` are names of channels, sealed (`cases.people.personal`); their addresses are secrets and stand in no table.
notification_choice = Table(
    "notification_choice",
    METADATA,
    Column("user_id", Text, ForeignKey("account.user_id"), primary_key=True),
    Column("language", Text, nullable=False),
    Column("channels", CanonicalJson, nullable=False),
    Column("chosen_by", Text, nullable=False),
    Column("chosen_at", UtcDateTime, nullable=False),
    CheckConstraint("language in ('zh', 'en')", name="language"),
)

#: One message to one channel in one language. It holds no text: `notice` names one of notifications.yml, and `number` is all
#: that goes into it. `occasion` makes it unique: one occasion is told once per channel and language, whoever shares it.
#: `seq` is the event it was written with; NULL for what is no event. `due_at` is when it may be claimed: for the first time,
#: again after a failure, or from somebody who claimed it and never said what came of it.
outbox = Table(
    "outbox",
    METADATA,
    Column("entry", BigInt, primary_key=True),
    Column("occasion", Text, nullable=False, unique=True),
    Column("notice", Text, nullable=False),
    Column("seq", BigInt, ForeignKey("event.seq")),
    Column("number", Text, ForeignKey("case_file.number")),
    Column("user_id", Text, ForeignKey("account.user_id"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("attempts_left", Integer, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("claimed_by", Text),
    Column("ended_at", UtcDateTime),
    CheckConstraint("state in ('queued', 'claimed', 'sent', 'given_up')", name="state"),
    CheckConstraint("attempts >= 0 and attempts_left >= 0", name="attempts"),
    CheckConstraint("(state = 'claimed') = (claimed_by is not null)", name="claim_has_a_sender"),
    CheckConstraint("(state in ('sent', 'given_up')) = (ended_at is not null)", name="end_has_a_time"),
    Index("ix_outbox_state", "state", "channel", "due_at"),
)

#: What came of an attempt. One that has no row was under way when its sender was killed.
outbox_attempt = Table(
    "outbox_attempt",
    METADATA,
    Column("entry", BigInt, ForeignKey("outbox.entry"), primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("result", Text, nullable=False),
    Column("message", Text, nullable=False),
    CheckConstraint("result in ('sent', 'failed')", name="result"),
)
