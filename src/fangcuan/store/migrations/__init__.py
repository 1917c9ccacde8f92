"""Schema versions of the casebook, applied by program: `upgrade`, `downgrade`, `current`, `difference`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, text

from fangcuan.store.base import Base
from fangcuan.store.database import open_engine, read, write

#: Any fixed number: processes that migrate one PostgreSQL database at the same time queue on this advisory lock.
_MIGRATION_LOCK = 5_204_721


def upgrade(database: Engine | str, revision: str = "head") -> None:
    """Bring the casebook to `revision` in one transaction; a no-op where it is already there."""
    with _migrating(database) as config:
        command.upgrade(config, revision)


def downgrade(database: Engine | str, revision: str = "base") -> None:
    """Take the casebook back to `revision`; `base` removes every table and all that is in them."""
    with _migrating(database) as config:
        command.downgrade(config, revision)


def current(database: Engine | str) -> str | None:
    """The revision the casebook is at, or None for an empty database."""
    with _engine(database) as engine, read(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def difference(database: Engine | str) -> list[Any]:
    """What the tables in the database lack or have too much, compared with the declared ones; empty when they agree."""
    import fangcuan.store.tables  # noqa: F401 - fills Base.metadata

    with _engine(database) as engine, read(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": Base.metadata})
        with warnings.catch_warnings():
            # SQLite cannot describe an index over an expression; Alembic leaves such an index out of the comparison.
            warnings.filterwarnings("ignore", message=".*expression-based index")
            return list(compare_metadata(context, Base.metadata))


@contextmanager
def _engine(database: Engine | str) -> Iterator[Engine]:
    if isinstance(database, Engine):
        yield database
        return
    engine = open_engine(database)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _migrating(database: Engine | str) -> Iterator[Config]:
    with _engine(database) as engine, write(engine) as connection:
        _lock(connection)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        yield config


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
