"""What a detector's model.py has to keep to: scikit-learn's estimator contract, and scores that tell rows apart."""

from __future__ import annotations

import ast
import inspect
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from fangcuan.content.detectors_yaml import LoadedDetector, load_detectors, model_class
from fangcuan.content.problem import ContentError, Problem, complain

#: Packages model.py may import: no file, network or clock reaches a model.
ALLOWED_IMPORTS = frozenset(
    {"__future__", "collections.abc", "fangcuan.authoring", "math", "numpy", "scipy", "sklearn", "typing"}
)
_ROWS, _PLANTED = 240, 7


def detector_problems() -> list[Problem]:
    """Everything wrong with the models of all detectors that can be loaded."""
    problems: list[Problem] = []
    for loaded in load_detectors().values():
        problems.extend(model_problems(loaded))
    return problems


def model_problems(loaded: LoadedDetector) -> list[Problem]:
    """Everything wrong with one model.py: imports, constructor, fit, scores."""
    shown = loaded.path.parent / "model.py"

    def problem(what: str, expected: str, todo: str, line: int = 1) -> Problem:
        return complain(shown, line, what, expected, todo)

    try:
        problems = [
            problem(f"import of {name}", f"numpy, sklearn or fangcuan.authoring, not {name}", "remove it", line)
            for line, name in _imports(loaded.model_text)
            if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED_IMPORTS)
        ]
    except SyntaxError as error:
        return [problem(f"SyntaxError: {error.msg}", "Python", "correct it", error.lineno or 1)]
    if problems:
        # What may not be imported is not run either.
        return problems
    try:
        cls = model_class(loaded)
    except ContentError as error:
        return error.problems
    line = _class_line(loaded)
    if not issubclass(cls, BaseEstimator):
        return [problem(f"class {cls.__name__}", "a subclass of sklearn.base.BaseEstimator", "derive it", line)]
    hyper = {name: parameter.value for name, parameter in loaded.rule.hyper_parameters.items()}
    try:
        model = cls(**hyper)
    except TypeError as error:
        return [problem(f"{cls.__name__}(): {error}", "the hyper_parameters of detector.yml", "make them agree", line)]
    for what, expected in (*_constructor_wrongs(cls, model, hyper), *_fit_wrongs(model, len(loaded.rule.features))):
        problems.append(problem(what, expected, "see scikit-learn's guide for developers", line))
    return problems


def _imports(text: str) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, "." * node.level + (node.module or "")))
    return found


def _class_line(loaded: LoadedDetector) -> int:
    for node in ast.walk(ast.parse(loaded.model_text)):
        if isinstance(node, ast.ClassDef) and node.name == loaded.rule.model:
            return node.lineno
    return 1


def _constructor_wrongs(cls: type[Any], model: Any, hyper: dict[str, Any]) -> list[tuple[str, str]]:
    wrongs = []
    signature = inspect.signature(cls.__init__)
    names = [name for name in signature.parameters if name != "self"]
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values()):
        return [("__init__ takes *args or **kwargs", "hyper-parameters by name")]
    if set(vars(model)) != set(names):
        extra = sorted(set(vars(model)) ^ set(names))
        wrongs.append((f"__init__ sets {', '.join(extra)}", "exactly its parameters stored, nothing computed"))
    missing = sorted(set(names) - set(hyper))
    if missing:
        wrongs.append(
            (f"hyper-parameter {', '.join(missing)} not in detector.yml", "every one declared with its about")
        )
    for name, value in hyper.items():
        if getattr(model, name, None) is not value and getattr(model, name, None) != value:
            wrongs.append((f"__init__ changes {name}", "parameters stored as they were given"))
    if not wrongs:
        try:
            clone(model)
        except (RuntimeError, TypeError) as error:
            wrongs.append((f"sklearn.base.clone fails: {error}", "an estimator that can be cloned"))
    return wrongs


def _fit_wrongs(model: Any, features: int) -> list[tuple[str, str]]:
    """Fit on made rows with a planted outlier and some unknown values; made here, so that every detector is asked the same."""
    draws = np.random.default_rng(20260309)
    X = draws.gamma(2.0, 1.0, size=(_ROWS, features))
    X[_PLANTED] = X.max(axis=0) * 4
    X[draws.random(X.shape) < 0.02] = np.nan
    before = X.copy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first, second = clone(model), clone(model)
            given_back = first.fit(X)
            scores = np.asarray(first.score_samples(X), dtype=float)
            second.fit(X)
            again = np.asarray(second.score_samples(X), dtype=float)
    except Exception as error:
        return [(f"fit or score_samples raises {type(error).__name__}: {error}", "both to work, with nan for unknown")]
    wrongs = []
    if given_back is not first:
        wrongs.append(("fit does not return self", "self"))
    if scores.shape != (_ROWS,) or not np.isfinite(scores).all():
        return [*wrongs, (f"scores of shape {scores.shape}", f"{_ROWS} finite numbers, one per row")]
    if not np.array_equal(scores, again):
        wrongs.append(("two fits give different scores", "a fixed random_state and one thread"))
    if not np.array_equal(X, before, equal_nan=True):
        wrongs.append(("fit or score_samples changes X", "X left as it was"))
    if len(np.unique(scores)) < _ROWS // 4:
        wrongs.append((f"{len(np.unique(scores))} different scores for {_ROWS} rows", "scores that tell rows apart"))
    elif np.argmax(scores) != _PLANTED:
        wrongs.append(
            ("a row four times the largest in every feature is not the most abnormal", "higher = more abnormal")
        )
    learned = set(vars(first)) - set(vars(model))
    if not learned or any(not name.endswith("_") for name in learned):
        wrongs.append((f"fit sets {', '.join(sorted(learned)) or 'nothing'}", "learned attributes that end in _"))
    return wrongs
