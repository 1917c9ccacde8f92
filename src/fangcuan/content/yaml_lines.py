"""YAML that people write, read so that every complaint can name its line.

A small, strict YAML: mappings with text keys, lists, text, numbers, true/false, null. Tags, anchors and aliases,
duplicate keys, several documents in one file and very large or very deep files are refused. Only `true`, `false` and
`null` are special words: `no`, `on` and `12:30` stay text, and dates stay text for the schema to read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

#: Where a value stands: the keys and list positions that lead to it.
KeyPath = tuple[str | int, ...]
#: Line (from 1) of every mapping key and list item; the document itself stands under `()`.
Lines = dict[KeyPath, int]

#: libyaml where PyYAML was built with it: the same events ten times faster.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_BYTES = 1_000_000
MAX_DEPTH = 40

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]{1,3})?|[-+]?[0-9]+[eE][-+]?[0-9]{1,3}")
_WORDS: dict[str, Any] = {
    "true": True,
    "false": False,
    "True": True,
    "False": False,
    "null": None,
    "~": None,
    "": None,
}


@dataclass(frozen=True)
class Problem:
    """One complaint about a file: `path:line: message`, the message saying what, what was expected and what to do."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class ContentError(Exception):
    """A file that people wrote cannot be used. `problems` holds every complaint, not the first only."""

    def __init__(self, problems: list[Problem]):
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load(path: Path) -> tuple[Any, Lines]:
    """Data of a YAML file and the line of every key. Raises ContentError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ContentError([Problem(path, 1, f"cannot be read ({error.strerror}); expected a YAML file")]) from error
    if len(raw) > MAX_BYTES:
        raise ContentError([Problem(path, 1, f"{len(raw)} bytes; expected at most {MAX_BYTES}; move data out of YAML")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ContentError([Problem(path, line, "not UTF-8 text; save the file as UTF-8")]) from error
    return loads(text, path)


def loads(text: str, path: Path = Path("<text>")) -> tuple[Any, Lines]:
    """Like `load`, for text already in memory; `path` is only used in messages."""
    problems: list[Problem] = []
    try:
        _refuse_constructs(text, path, problems)
        if problems:
            raise ContentError(problems)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "not YAML"
        raise ContentError([Problem(path, mark.line + 1 if mark else 1, f"not YAML: {what}")]) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ContentError([Problem(path, 1, f"not YAML: {str(error) or 'nested too deeply'}")]) from error
    lines: Lines = {(): 1}
    data = None if root is None else _construct(root, (), lines, path, problems)
    if problems:
        raise ContentError(problems)
    return data, lines


def line_of(lines: Lines, where: KeyPath) -> int:
    """Line of `where`, or of the closest thing around it that stands in the file."""
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)


def explain(
    error: ValidationError, path: Path, lines: Lines, model: type[BaseModel], prefix: KeyPath = ()
) -> list[Problem]:
    """The complaints of a pydantic model about YAML data, each at its line. `prefix` is where the data stands."""
    problems = []
    found = error.errors(include_url=False)
    for item in found:
        deeper = [
            other
            for other in found
            if len(other["loc"]) > len(item["loc"]) and other["loc"][: len(item["loc"])] == item["loc"]
        ]
        if item["type"] == "too_short" and deeper:
            continue  # pydantic counts only the items that were good
        where = (*prefix, *item["loc"])
        name = ".".join(str(part) for part in where) or "the file"
        kind = item["type"]
        if kind == "extra_forbidden":
            known = sorted(_fields(model, item["loc"][:-1]))
            close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "remove it"
            text = (
                f"unknown key {name!r}; expected one of {', '.join(known)}; {hint}"
                if known
                else f"unknown key {name!r}"
            )
        elif kind == "missing":
            text = f"key {name!r} is missing; add it"
        else:
            text = f"{name}: {_said(item, sorted(_fields(model, item['loc'])))}"
        problems.append(Problem(path, line_of(lines, where), text))
    return problems


#: What was expected, by the beginning of pydantic's name for an error; the longer beginning goes first.
_EXPECTED = {
    "bool": "true or false",
    "dict": "keys with values",
    "float": "a number",
    "int": "a whole number",
    "list": "a list, each item on a line that begins with -",
    "string": "text",
    "tuple": "a list, each item on a line that begins with -",
}


def _said(item: Mapping[str, Any], keys: Sequence[str]) -> str:
    """One complaint of pydantic in words for who writes YAML: what, expected what, what to do. `keys` may stand there."""
    kind, given, context = item["type"], item["input"], item.get("ctx", {})
    if kind in {"too_short", "string_too_short"} and not given:
        least = context.get("min_length", 1)
        return (
            "empty; expected text; write it"
            if isinstance(given, str)
            else f"empty; expected at least {least}; write one"
        )
    expected = _EXPECTED.get(kind.split("_", 1)[0]) if kind.endswith(("_type", "_parsing", "_from_float")) else None
    if kind in {"model_type", "dict_type"} and keys:
        expected = f"keys of its own: {', '.join(keys)}"
    elif kind == "literal_error":
        expected = str(context["expected"])
    shown = repr(given)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    if expected is None:
        return f"{item['msg'].removeprefix('Value error, ')} (given: {shown})"
    if given is None:
        return f"nothing is written here; expected {expected}; write it"
    return f"{shown} does not fit; expected {expected}"


def _fields(model: Any, where: tuple[str | int, ...]) -> list[str]:
    """Keys of the model that stands at `where` below `model`; empty where that is not a model."""
    for part in where:
        model = (
            _inner(model.model_fields[part].annotation)
            if isinstance(part, str) and part in model.model_fields
            else model
        )
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _inner(annotation: Any) -> Any:
    """The model inside `tuple[Model, ...]`, `dict[str, Model]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _inner(argument)
        if found is not None:
            return found
    return None


def _refuse_constructs(text: str, path: Path, problems: list[Problem]) -> None:
    documents = depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents == 2:
                problems.append(Problem(path, line, "a second YAML document; expected one; remove the `---` line"))
        elif isinstance(event, yaml.AliasEvent):
            problems.append(Problem(path, line, f"alias *{event.anchor}; write the value out instead"))
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if event.anchor:
                problems.append(Problem(path, line, f"anchor &{event.anchor}; write the value out where it is used"))
            if event.tag is not None:
                problems.append(Problem(path, line, f"tag {event.tag}; expected plain YAML; remove the tag"))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                problems.append(Problem(path, line, f"nested more than {MAX_DEPTH} deep; flatten it"))
                return
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _construct(node: yaml.Node, where: KeyPath, lines: Lines, path: Path, problems: list[Problem]) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for position, item in enumerate(node.value):
            lines[(*where, position)] = item.start_mark.line + 1
            items.append(_construct(item, (*where, position), lines, path, problems))
        return items
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(Problem(path, line, "a key that is not text; expected `name: value`"))
            continue
        key = str(key_node.value)
        if key in found:
            first = lines[(*where, key)]
            problems.append(Problem(path, line, f"key {key!r} stands twice (first in line {first}); remove one"))
            continue
        lines[(*where, key)] = line
        found[key] = _construct(value_node, (*where, key), lines, path, problems)
    return found


def _scalar(node: yaml.ScalarNode) -> Any:
    value = str(node.value)
    if node.style:  # quoted or block text is text
        return value
    if value in _WORDS:
        return _WORDS[value]
    if _INTEGER.fullmatch(value):
        return int(value)
    if _FLOAT.fullmatch(value):
        return float(value)
    return value
