"""A rule as it stands in `rules/<family>/<name>.yml`. A Unit object exists only if the file is valid."""

from __future__ import annotations

import re
import string
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fangcuan.content.problem import ContentError, Problem, complain, from_validation, refuse
from fangcuan.content.roots import files, signature
from fangcuan.content.yaml_lines import line_of, load
from fangcuan.core.finding import FAMILIES, Family, Role, SubjectKind

Scalar = int | float | str | bool


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bilingual(Strict):
    """A text in English and Chinese; both are mandatory."""

    en: Annotated[str, Field(min_length=1)]
    zh: Annotated[str, Field(min_length=1)]


class Parameter(Strict):
    """A number or list that a rule's SQL names as `$name`."""

    value: Scalar | list[Scalar]
    unit: str = ""
    about: str


class CaseKey(Strict):
    """How findings of this unit become cases: the columns of the query that, with family and subject, make one case."""

    group_by: list[Literal["sku", "product_line", "region_code", "channel", "lot"]] = ["product_line"]
    period: Literal["none", "policy", "month", "quarter", "year"] = "quarter"
    max_cases: Annotated[int, Field(gt=0)] = 200


class RuleTest(Strict):
    """Rows of canonical relations and the findings they must give; missing columns are null.

    A relation that is not given takes the rows of the rule's `background`.
    """

    name: Annotated[str, Field(min_length=10)]
    night: str = "2026-03-31"
    since: str | None = None
    given: dict[str, list[dict[str, Any]]]
    expect: list[dict[str, Any]]
    parameters: dict[str, Scalar | list[Scalar]] = {}


class UnitText(Strict):
    """What rules and detectors say alike: who they are, what they read out, how their findings become cases."""

    id: str
    title: Bilingual
    role: Role
    status: Literal["draft", "shadow", "active", "retired"]
    owner: str
    subject: SubjectKind
    severity: Literal["low", "medium", "high"] = "medium"
    parameters: dict[str, Parameter] = {}
    query: str
    case: CaseKey = CaseKey()
    fingerprint: list[str] = []
    explanation: Bilingual | None = None
    triage: Bilingual
    innocent_readings: list[Bilingual]
    known_gaps: list[Bilingual]
    background: dict[str, list[dict[str, Any]]] = {}
    tests: list[RuleTest]

    @property
    def family(self) -> Family:
        return self.id.split(".", 1)[0]  # type: ignore[return-value]

    @property
    def explanation_names(self) -> tuple[str, ...]:
        """Columns the explanation speaks of, in order of first use."""
        if self.explanation is None:
            return ()
        found: dict[str, None] = {}
        for template in (self.explanation.en, self.explanation.zh):
            for _, name, _, _ in string.Formatter().parse(template):
                if name:
                    found[name] = None
        return tuple(found)


class Rule(UnitText):
    """One rule. `id` is `<family>.<name>` and says where the file stands."""

    key: list[str] = []

    @property
    def relation(self) -> str:
        """Name under which later units read the rows of a fact."""
        return f"fact_{self.id.replace('.', '_')}"


class LoadedRule(Strict):
    """A rule with its place and its exact text."""

    rule: Rule
    path: Path
    text: str

    @property
    def query_line(self) -> int:
        """Line of the file before the first of the query."""
        return next((n for n, line in enumerate(self.text.splitlines(), 1) if line.startswith("query:")), 1)


def load_rule(root: Path, path: Path) -> LoadedRule:
    """Read one rule file. Raises ContentError with every problem in it."""
    shown = path.relative_to(root)
    data, lines = load(path)
    try:
        rule = Rule.model_validate(data)
    except ValidationError as error:
        raise ContentError(from_validation(shown, error, lines)) from error
    problems: list[Problem] = []

    def problem(location: tuple[str | int, ...], what: str, expected: str, todo: str) -> None:
        problems.append(complain(shown, line_of(lines, location), what, expected, todo))

    expected_id = f"{path.parent.name}.{path.stem}"
    if rule.id != expected_id:
        problem(
            ("id",), f"id {rule.id!r}", f"{expected_id!r} as the file's place says", "rename the id or move the file"
        )
    if not re.fullmatch(r"[a-z_]+\.[a-z][a-z0-9_]*", rule.id) or rule.family not in FAMILIES:
        problem(
            ("id",), f"id {rule.id!r}", f"<family>.<name>, family one of {', '.join(FAMILIES)}", "choose such an id"
        )
    if rule.role == "fact" and not rule.key:
        problem(("key",), "a fact without key", "the columns that identify a row", "add key: [...]")
    if rule.role != "fact" and rule.explanation is None:
        problem((), "no explanation", "explanation with en and zh", "add one; name output columns as {column}")
    if not any(test.expect for test in rule.tests):
        problem(("tests",), "no test that fires", "at least one test with expected findings", "add one")
    if not any(not test.expect for test in rule.tests):
        problem(("tests",), "no quiet test", "at least one test with expect: []", "add one")
    refuse(problems)
    return LoadedRule(rule=rule, path=shown, text=path.read_text(encoding="utf-8"))


def load_rules() -> dict[str, LoadedRule]:
    """All rules by id, shipped and overlay. Raises ContentError with every problem of every file."""
    return dict(_load_rules(signature("rules", "*/*.yml")))


@lru_cache(maxsize=4)
def _load_rules(_files: tuple[tuple[str, int, int], ...]) -> dict[str, LoadedRule]:
    problems: list[Problem] = []
    found: dict[str, LoadedRule] = {}
    for root, path in files("rules", "*/*.yml"):
        try:
            loaded = load_rule(root, path)
        except ContentError as error:
            problems.extend(error.problems)
            continue
        if loaded.rule.id in found:
            what = f"rule {loaded.rule.id!r} exists twice"
            problems.append(complain(loaded.path, 1, what, "one file per id", "rename or remove one"))
        found[loaded.rule.id] = loaded
    refuse(problems)
    return found
