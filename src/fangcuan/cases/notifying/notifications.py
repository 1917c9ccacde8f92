"""The notices there are: read from `notifications.yml`, checked when it is loaded, and written out for one reader."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fangcuan.cases import workflow
from fangcuan.content.yaml_lines import ContentError, explain, loads

Language = Literal["zh", "en"]
LANGUAGES: tuple[str, ...] = ("zh", "en")
#: Everything about a case that leaves the house.
_NUMBER = re.compile(r"FC-[0-9]{4}-[0-9]{6,}")
_PLACEHOLDERS = frozenset({"number", "link"})
_BASE = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~/-]*)?")


class NoticeError(Exception):
    """A notice cannot be written out like this; the message says what was expected."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Wording(_Strict):
    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)

    @field_validator("zh", "en")
    @classmethod
    def _only_number_and_link(cls, text: str) -> str:
        """A text that asked for anything else could carry it out of the house; one with a line break could forge a header."""
        for _, name, specification, conversion in string.Formatter().parse(text):
            if name is not None and (name not in _PLACEHOLDERS or specification or conversion):
                raise ValueError(f"{{{name}}} is not known; expected {{number}} or {{link}}")
        if not text.isprintable():
            raise ValueError("expected one line of text")
        return text


class Notice(_Strict):
    """`event` is the kind of event it is written with, None where a program writes it; `to` as the file explains."""

    event: str | None = None
    when: dict[str, str | int | bool | None] = {}
    to: tuple[str, ...] = Field(min_length=1)
    title: Wording
    text: Wording

    @field_validator("to")
    @classmethod
    def _known(cls, to: tuple[str, ...]) -> tuple[str, ...]:
        roles = workflow.default().roles
        for each in to:
            kind, _, rest = each.partition(".")
            if not (each == "assignee" or (kind == "event" and rest) or (kind == "role" and rest in roles)):
                raise ValueError(f"{each!r}: expected assignee, event.<path> or role.<one of {', '.join(roles)}>")
        return to

    def fits(self, data: Mapping[str, Any]) -> bool:
        """Whether the data of an event are as `when` says."""
        return all(at(data, path) == value for path, value in self.when.items())


class Notices(_Strict):
    version: Literal[1]
    notices: dict[str, Notice] = Field(min_length=1)

    def of_event(self, kind: str, data: Mapping[str, Any]) -> list[str]:
        """Ids of the notices that an event calls for."""
        return [name for name, notice in self.notices.items() if notice.event == kind and notice.fits(data)]


@dataclass(frozen=True)
class Message:
    """What one reader gets; `title` is one line."""

    title: str
    text: str


@cache
def default() -> Notices:
    """The notices that ship with the package."""
    source = resources.files("fangcuan.cases.notifying") / "notifications.yml"
    return parse(source.read_text(encoding="utf-8"), "notifications.yml")


def parse(text: str, name: str) -> Notices:
    """Notices from YAML text. Raises ContentError with every problem and its line."""
    data, lines = loads(text, Path(name))
    try:
        return Notices.model_validate(data)
    except ValidationError as error:
        raise ContentError(explain(error, Path(name), lines, Notices)) from error


def write_out(name: str, language: str, number: str | None, base_url: str, notices: Notices | None = None) -> Message:
    """The text of a notice. `base_url` is that of the workbench; without one the number stands where the link would.

    Raises NoticeError for a notice there is none of, and for a number or address that is not one: nothing else gets in.
    """
    notice = (notices or default()).notices.get(name)
    if notice is None or language not in LANGUAGES:
        raise NoticeError(f"{name}: no such notice in {language}; notifications.yml has them all")
    if number is not None and not _NUMBER.fullmatch(number):
        raise NoticeError(f"{number!r} is no number of a case")
    check_base(base_url)
    page = f"/cases/{number}" if number else ""
    link = f"{base_url.rstrip('/')}{page}" if base_url else number or ""
    values = {"number": number or "", "link": link}
    title, text = (str(getattr(part, language)).format(**values).strip() for part in (notice.title, notice.text))
    return Message(title, text)


def check_base(base_url: str) -> str:
    """The address of the workbench. Raises NoticeError for anything but a plain http(s) address, or nothing."""
    if base_url and not _BASE.fullmatch(base_url):
        raise NoticeError(f"base_url: {base_url!r} is no plain address such as https://fangcuan.example.com")
    return base_url


def at(data: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    value: Any = data
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
