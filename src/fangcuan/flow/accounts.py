"""Who acts on the command line, and the accounts an installation begins with."""

from __future__ import annotations

import getpass
import os
import re

from sqlalchemy import select

from fangcuan.cases.people.access import Actor, actor_name
from fangcuan.cases.people.accounts import add_first_admin, add_user
from fangcuan.cases.people.grants import grant_role
from fangcuan.cases.people.personal import Opened
from fangcuan.cases.people.tokens import token_actor
from fangcuan.cases.refusals import NotAuthorised, UnknownUser
from fangcuan.flow.installation import Installation
from fangcuan.store.accounts import account
from fangcuan.store.database import read

#: Accounts of a sample world, for whoever tries it out: id → (name, role). Nobody's, so no terminal is behind them.
DEMO = {
    "ling": ("Ling (demo)", "analyst"),
    "chen": ("Chen (demo)", "analyst"),
    "wang": ("Wang (demo)", "supervisor"),
    "zhao": ("Zhao (demo)", "legal"),
    "qian": ("Qian (demo)", "auditor"),
}
DEMO_ADMIN = "admin"


def acting(installation: Installation, named: str | None = None, *, role: str | None = None) -> Actor:
    """Who acts: whom FANGCUAN_TOKEN proves; else `named`, else FANGCUAN_USER, else the operating system's user.

    Where somebody acts under another name, the account at the terminal goes with him: two names do not make two people.
    Raises CommandRefused where nobody is named, or a token is somebody else's.
    """
    narrowed = frozenset({role}) if role else None
    wanted = named or os.environ.get("FANGCUAN_USER") or None
    token = os.environ.get("FANGCUAN_TOKEN")
    if token:
        proven = token_actor(installation.engine, token)
        if wanted is not None and wanted not in {proven.name, proven.name.partition(":")[2]}:
            raise NotAuthorised(f"FANGCUAN_TOKEN is a token of {proven.name}, not of {wanted}")
        return Actor(proven.name, narrowed, token=proven.token)
    system = os_user()
    with read(installation.engine) as connection:
        kinds = {row.user_id: row.kind for row in connection.execute(select(account.c.user_id, account.c.kind))}
        here = Opened(connection).of_os_user(connection, system)
    terminal = actor_name(here.kind, here.user_id) if here is not None and here.active else None
    if wanted is None:
        if terminal is None:
            raise UnknownUser(f"{system}, the operating system's user, has no account; name one: --as or FANGCUAN_USER")
        return Actor(terminal, narrowed)
    name = actor_name(kinds[wanted], wanted) if wanted in kinds else wanted if ":" in wanted else f"user:{wanted}"
    return Actor(name, narrowed, terminal=terminal if terminal != name else None)


def first_admin(installation: Installation, named: str | None = None) -> str | None:
    """Make the user at the terminal, or the one named, the first administrator; None where there are accounts."""
    system = os_user()
    user_id = named or re.sub(r"[^a-z0-9._-]", "-", system.lower()).lstrip("._-") or DEMO_ADMIN
    mapped = None if named and named != system else system
    made = add_first_admin(installation.engine, user_id, name=named or system, os_user=mapped)
    return user_id if made else None


def demo_accounts(installation: Installation) -> list[str]:
    """An administrator and one account per role, for a sample world; none where there are accounts already."""
    if not add_first_admin(installation.engine, DEMO_ADMIN, name="Administrator (demo)"):
        return []
    admin = Actor(actor_name("person", DEMO_ADMIN))
    for user_id, (name, role) in DEMO.items():
        add_user(installation.engine, admin, user_id, name=name)
        grant_role(installation.engine, admin, user_id, role)
    return [DEMO_ADMIN, *DEMO]


def os_user() -> str:
    """Name of the operating system's user; his number where he has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
