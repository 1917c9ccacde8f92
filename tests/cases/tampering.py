"""What the owner of a database can do to it: take the guards down, change what he likes, put the guards back."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Engine, select, text

from fangcuan.cases.history.events import link
from fangcuan.store import guards
from fangcuan.store.casework import event
from fangcuan.store.database import read, write


def tamper(engine: Engine, *statements: str, parameters: dict[str, Any] | None = None) -> None:
    """Run statements with all guards down; they are up again afterwards."""
    with write(engine) as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("pragma defer_foreign_keys = on")
        put_back = take_down(connection)
        for statement in statements:
            connection.execute(text(statement), parameters or {})
        for guard in put_back:
            connection.execute(text(guard))


def take_down(connection: Connection) -> list[str]:
    """Take every guard down; the statements that put them back."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("select name, sql from sqlite_master where type = 'trigger'")).all()
        for name, _ in rows:
            connection.execute(text(f"drop trigger {name}"))
        return [sql.replace(":", "\\:") for _, sql in rows]
    for table in (*guards.APPEND_ONLY, *guards.ONE_WAY):
        connection.execute(text(f"alter table {table} disable trigger user"))
    triggers = connection.execute(
        text("select tgrelid::regclass::text, tgname from pg_trigger where not tgisinternal and tgenabled = 'D'")
    ).all()
    return [f"alter table {table} enable always trigger {name}" for table, name in triggers]


def rewrite_history(engine: Engine, old: str, new: str) -> int:
    """Replace text in every body and link the whole chain anew with correct hashes, head included; events changed."""
    with read(engine) as connection:
        rows = connection.execute(select(event).order_by(event.c.seq)).all()
    changed, tail, made = 0, "0" * 64, []
    for row in rows:
        body = row.body.replace(old, new)
        json.loads(body)
        changed += body != row.body
        made.append({"seq": row.seq, "prev_hash": tail, "hash": (tail := link(tail, body.encode())), "body": body})
    with write(engine) as connection:
        put_back = take_down(connection)
        # Away from the unique hashes first.
        connection.execute(text("update event set prev_hash = 'p' || seq, hash = 'h' || seq"))
        for row in made:
            connection.execute(event.update().where(event.c.seq == row["seq"]).values(**row))
        connection.execute(text("update event_head set hash = :hash"), {"hash": tail})
        for guard in put_back:
            connection.execute(text(guard))
    return changed
