"""Secrets of sources, by name: from the environment or from files, never from a source.yml and never in a message."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class SecretMissing(Exception):
    """A named secret is not there; the message says where to put it and never what was found."""


def get(name: str) -> str:
    """The secret `name`: variable `FANGCUAN_SECRET_<NAME>`, else file `<FANGCUAN_SECRETS_DIR>/<name>`.

    A file's trailing line break is not part of the secret. Raises SecretMissing, also for an empty secret.
    """
    if not _NAME.fullmatch(name):
        raise SecretMissing(f"secret name {name!r}: expected letters, digits and underscores")
    variable = f"FANGCUAN_SECRET_{name.upper()}"
    value = os.environ.get(variable)
    if value:
        return value
    folder = os.environ.get("FANGCUAN_SECRETS_DIR")
    if folder:
        try:
            value = (Path(folder) / name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            value = ""
        if value:
            return value
    raise SecretMissing(
        f"secret {name!r} is missing: set {variable}, or put it in the file {name} in FANGCUAN_SECRETS_DIR"
    )


def scrub(message: str, *values: str) -> str:
    """`message` with every given secret value replaced, for texts that come from other software."""
    for value in values:
        if value:
            message = message.replace(value, "***")
    return message
