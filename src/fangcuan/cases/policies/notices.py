"""Notices with fixed words: the same for everyone, nothing to fill in but a number, a date and the names of policies."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from string import Formatter

import yaml
from pydantic import BaseModel, ConfigDict, field_validator

#: What may vary in a notice. There is no place for words of one's own: they would make it an offer.
VARIABLES = frozenset({"number", "date", "policy"})
_NUMBER = re.compile(r"[A-Z]{1,8}-\d{4}-\d{4,12}")
_POLICY = re.compile(r"[\w.:/-]{1,64}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(_Strict):
    en: str
    zh: str


class Notice(_Strict):
    """One notice. `text` has no variable but those of VARIABLES, each as it stands: `{number}`."""

    id: str
    jurisdiction: str
    title: Words
    text: Words

    @field_validator("title", "text")
    @classmethod
    def _fixed(cls, words: Words) -> Words:
        for text in (words.en, words.zh):
            for _, name, spec, conversion in Formatter().parse(text):
                if name is not None and (name not in VARIABLES or spec or conversion):
                    raise ValueError(f"variable {{{name}}}; a notice has {', '.join(sorted(VARIABLES))} and no other")
        return words

    def render(self, *, number: str, date: dt.date, policies: Sequence[str]) -> dict[str, str]:
        """The text in each language. Raises ValueError for a value that is more than a number or names of policies."""
        if not _NUMBER.fullmatch(number):
            raise ValueError(f"{number!r} is not the number of a case")
        for policy in policies:
            if not _POLICY.fullmatch(policy):
                raise ValueError(f"{policy!r} cannot stand in a notice: letters, digits and . : / - _, at most 64")
        if not policies:
            raise ValueError("a notice names the policy it is about")
        values = {"number": number, "date": date.isoformat(), "policy": ", ".join(sorted(policies))}
        return {language: getattr(self.text, language).format(**values) for language in ("en", "zh")}


@cache
def notices() -> dict[str, Notice]:
    """Every notice the package ships, by id."""
    folder = resources.files("fangcuan.cases.policies") / "shipped" / "notices"
    found = [
        Notice.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
        if path.name.endswith(".yml")
    ]
    return {notice.id: notice for notice in found}
