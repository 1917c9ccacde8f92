"""A detector as it stands in `detectors/<name>/`: detector.yml, features.sql, model.py. Its id is `<family>.<name>`.

The class in model.py is imported as `fangcuan.content.detectors.<name>.model`, so that a saved model names a place that is
the same in a checkout, a wheel and an overlay, and that no other installed package called `detectors` can take.
"""

from __future__ import annotations

import importlib
import re
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from fangcuan.content import detectors as package
from fangcuan.content.problem import ContentError, Problem, complain, refuse
from fangcuan.content.roots import files, folders, signature
from fangcuan.content.units import Bilingual, Parameter, Strict, UnitText
from fangcuan.content.yaml_lines import explain, line_of, load
from fangcuan.core.canonical import sha256_hex
from fangcuan.core.finding import FAMILIES

PATTERN = "*/detector.yml"
#: What the engine itself adds to the words a detector's explanation may use, beside the columns of its query.
ENGINE_NAMES = ("reasons_en", "reasons_zh", "rarity_pct", "compared_with", "trained_for", "p_value", "score")
#: What every finding of a detector carries beside the words of its sentence: features by what they add, and the model's id.
ALWAYS_TOLD = ("contributions", "model")


class Feature(Strict):
    """A number column of features.sql, in the order the model sees it, with the words an explanation uses for it."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Bilingual


class Training(Strict):
    """Whole windows before the night that a model learns from, and how many rows it needs at least."""

    windows: Annotated[int, Field(ge=1)]
    min_rows: Annotated[int, Field(ge=20)]
    about: str


class Flag(Strict):
    """Rows whose share of at least equally abnormal training rows is not above `p_value` become findings."""

    p_value: Annotated[float, Field(gt=0, lt=1)]
    max_findings: Annotated[int, Field(gt=0)]
    about: str


class Detector(UnitText):
    """One detector. `query` is the text of features.sql."""

    role: Literal["watch"]
    model: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$")]
    hyper_parameters: dict[str, Parameter] = Field(default_factory=dict)
    window: Literal["week", "month"]
    score_windows: Annotated[int, Field(ge=1)]
    training: Training
    flag: Flag
    features: Annotated[list[Feature], Field(min_length=2)]
    reads: list[str]

    @property
    def name(self) -> str:
        return self.id.split(".", 1)[1]

    @property
    def explanation_names(self) -> tuple[str, ...]:
        return (*super().explanation_names, *ALWAYS_TOLD)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)


class LoadedDetector(Strict):
    """A detector with its place and its exact texts; `path` and `text` are those of features.sql."""

    rule: Detector
    path: Path
    text: str
    folder: Path
    yaml_text: str
    model_text: str

    #: Line of `path` before the first of the query.
    query_line: int = 0


def load_detector(root: Path, path: Path) -> LoadedDetector:
    """Read one detector's folder by its detector.yml. Raises ContentError with every problem in it."""
    shown, folder = path.relative_to(root), path.parent
    data, lines = load(path)
    problems: list[Problem] = []

    def problem(location: tuple[str | int, ...], what: str, expected: str, todo: str) -> None:
        problems.append(complain(shown, line_of(lines, location), what, expected, todo))

    texts: dict[str, str] = {}
    for name in ("features.sql", "model.py", "README.md"):
        file = folder / name
        texts[name] = file.read_text(encoding="utf-8") if file.is_file() else ""
        if not texts[name].strip():
            problems.append(complain(shown.parent / name, 1, "no such file, or empty", f"a {name}", "write it"))
    if not isinstance(data, dict):
        problem((), "no mapping", "the keys of a detector", "see the shipped detectors")
        raise ContentError(problems)
    if "query" in data:
        problem(("query",), "key 'query'", "the query in features.sql", "move it there")
    try:
        detector = Detector.model_validate({**data, "query": texts["features.sql"]})
    except ValidationError as error:
        raise ContentError([*problems, *explain(error, shown, lines, Detector)]) from error
    expected_id = f"<family>.{folder.name}"
    if not re.fullmatch(r"[a-z_]+\.[a-z][a-z0-9_]*", detector.id) or detector.name != folder.name:
        problem(("id",), f"id {detector.id!r}", f"{expected_id} as the folder says", "rename the id or the folder")
    elif detector.family not in FAMILIES:
        problem(("id",), f"family {detector.family!r}", f"one of {', '.join(FAMILIES)}", "choose one of these")
    if detector.explanation is None:
        problem((), "no explanation", "explanation with en and zh", "add one; name output columns as {column}")
    if len(set(detector.feature_names)) != len(detector.features):
        problem(("features",), "a feature stands twice", "every feature once", "remove one")
    if not any(test.expect for test in detector.tests):
        problem(("tests",), "no test with feature rows", "at least one test with expected rows", "add one")
    if f"class {detector.model}" not in texts["model.py"]:
        problem(("model",), f"no class {detector.model} in model.py", "the name of the estimator", "correct it")
    refuse(problems)
    return LoadedDetector(
        rule=detector,
        path=shown.parent / "features.sql",
        text=texts["features.sql"],
        folder=folder,
        yaml_text=path.read_text(encoding="utf-8"),
        model_text=texts["model.py"],
    )


def load_detectors() -> dict[str, LoadedDetector]:
    """All detectors by id, shipped and overlay. Raises ContentError with every problem of every folder."""
    return dict(_load_detectors(detectors_signature()))


def detectors_signature() -> tuple[tuple[str, int, int], ...]:
    """What a cache of parsed detectors is valid for."""
    return (
        *signature("detectors", PATTERN),
        *signature("detectors", "*/*.sql"),
        *signature("detectors", "*/*.py"),
        *signature("detectors", "*/README.md"),
    )


@lru_cache(maxsize=4)
def _load_detectors(_files: tuple[tuple[str, int, int], ...]) -> dict[str, LoadedDetector]:
    problems: list[Problem] = []
    found: dict[str, LoadedDetector] = {}
    names: set[str] = set()
    for root, path in files("detectors", PATTERN):
        try:
            loaded = load_detector(root, path)
        except ContentError as error:
            problems.extend(error.problems)
            continue
        if loaded.rule.name in names:
            # The folder is also the name of the module: a second one would be found under the first one's code.
            what = f"detector folder {loaded.rule.name!r} exists twice"
            problems.append(complain(path.relative_to(root), 1, what, "one folder per name", "rename or remove one"))
            continue
        names.add(loaded.rule.name)
        found[loaded.rule.id] = loaded
    refuse(problems)
    return found


#: sha256 of the text each imported model.py had, so that a changed file is not answered with old code.
_imported: dict[str, tuple[str, str]] = {}


def import_model(loaded: LoadedDetector) -> ModuleType:
    """The module of a detector's model.py, from the very file that was read. Raises ContentError when it cannot be imported."""
    package.__path__[:] = folders("detectors")
    name = f"{package.__name__}.{loaded.rule.name}.model"
    file = loaded.folder / "model.py"
    state = (str(file), sha256_hex(loaded.model_text.encode()))
    if name in sys.modules and _imported.get(name) != state:
        for key in (name, name.rpartition(".")[0]):
            sys.modules.pop(key, None)
    importlib.invalidate_caches()
    shown = loaded.path.parent / "model.py"
    try:
        module = importlib.import_module(name)
    except Exception as error:
        line = _line_in(file, error)
        raise ContentError(
            [complain(shown, line, f"cannot be imported ({type(error).__name__}: {error})", "a module", "correct it")]
        ) from error
    if Path(str(module.__file__)).resolve() != file.resolve():
        raise ContentError(
            [complain(shown, 1, f"{name} is {module.__file__}", "this file", "rename the folder that hides it")]
        )
    _imported[name] = state
    return module


def model_class(loaded: LoadedDetector) -> type[Any]:
    """The estimator class a detector names. Raises ContentError when model.py does not give it."""
    found = getattr(import_model(loaded), loaded.rule.model, None)
    if not isinstance(found, type):
        shown = loaded.path.parent / "model.py"
        raise ContentError([complain(shown, 1, f"{loaded.rule.model} is no class", "a class", "define it")])
    return found


def _line_in(file: Path, error: Exception) -> int:
    if isinstance(error, SyntaxError) and error.lineno:
        return error.lineno
    line, trace = 1, error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
