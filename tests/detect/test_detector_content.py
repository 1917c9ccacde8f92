"""A detector is one folder: it loads, keeps the estimator contract, and what is wrong with it is told with its place."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.base import clone

from fangcuan.content.detectors_yaml import load_detectors, model_class
from fangcuan.content.problem import ContentError
from fangcuan.content.roots import shipped_root
from fangcuan.detect.detectors import all_units, load_detector_units
from fangcuan.detect.estimators import detector_problems, model_problems
from fangcuan.detect.given import run_rule_test
from fangcuan.flow.check import check_content
from fangcuan.flow.night import live_units
from fangcuan.settings import Settings

SHIPPED = {"diversion.partner_month_outlier", "price.price_series_outlier"}
Add = Callable[..., Path]


def test_the_shipped_detectors_are_there_and_in_order() -> None:
    units = load_detector_units()
    assert set(units) >= SHIPPED
    assert detector_problems() == []
    for unit in units.values():
        assert unit.rule.role == "watch", f"{unit.id} may open cases"
        assert len(unit.rule.tests) >= 2, f"{unit.id} has too few tests"
        assert clone(model_class(unit.loaded)(**unit.hyper_parameters)).get_params() == unit.hyper_parameters
        assert len((unit.loaded.folder / "README.md").read_text(encoding="utf-8")) > 1500, f"{unit.id}: no model card"


@pytest.mark.parametrize("unit_id", sorted(SHIPPED))
def test_rows_given_give_the_feature_rows_expected(unit_id: str, tmp_path: Path) -> None:
    unit = load_detector_units()[unit_id]
    for case in unit.rule.tests:
        outcome = run_rule_test(unit, all_units(), case, Settings(home=tmp_path))
        assert not outcome.problems, f"{unit_id} | {case.name} | {outcome.problems}"


def test_a_folder_in_an_overlay_is_a_detector(add_detector: Add) -> None:
    folder = add_detector("private_prices")
    unit = load_detector_units()["price.private_prices"]
    assert set(load_detector_units()) == {*SHIPPED, "price.private_prices"}
    assert "price.private_prices" in live_units()
    cls = model_class(unit.loaded)
    assert cls.__module__ == "fangcuan.content.detectors.private_prices.model"
    assert Path(sys.modules[cls.__module__].__file__ or "").parent == folder
    report = check_content()
    assert report.problems == ()
    assert f"{len(SHIPPED) + 1} detectors" in report.summary


def test_an_installed_package_called_detectors_does_not_win(add_detector: Add, tmp_path: Path, overlay: Path) -> None:
    """In a process of its own: a foreign top-level `detectors` with a unit of the same name comes first on the path."""
    add_detector("private_prices")
    foreign = tmp_path / "site"
    for name in ("private_prices", "price_series_outlier"):
        (foreign / "detectors" / name).mkdir(parents=True)
        (foreign / "detectors" / name / "__init__.py").write_text("")
        (foreign / "detectors" / name / "model.py").write_text("raise SystemExit('the foreign one')\n")
    (foreign / "detectors" / "__init__.py").write_text("")
    code = textwrap.dedent(
        """
        import detectors
        from fangcuan.detect.estimators import detector_problems, model_problems
        from fangcuan.content.detectors_yaml import load_detectors, model_class
        assert detector_problems() == []
        print(detectors.__file__)
        for loaded in load_detectors().values():
            print(__import__("sys").modules[model_class(loaded).__module__].__file__)
        """
    )
    paths = f"{foreign}:{shipped_root() / 'src'}"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": paths, "FANGCUAN_CONTENT": str(overlay), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    first, *ours = run.stdout.split()
    assert first.startswith(str(foreign)), "the foreign package was not the one that `import detectors` finds"
    assert len(ours) == 3
    assert not any(path.startswith(str(foreign)) for path in ours)


def test_two_folders_of_one_name_are_refused(overlay: Path, add_detector: Add) -> None:
    folder = add_detector("price_series_outlier")
    assert folder.is_dir()
    with pytest.raises(ContentError, match=r"detector.yml:1: detector folder 'price_series_outlier' exists twice"):
        load_detectors()


def test_another_text_is_another_digest_and_another_class(add_detector: Add) -> None:
    folder = add_detector("private_prices")
    before = load_detector_units()["price.private_prices"]
    first = model_class(before.loaded)
    text = (folder / "model.py").read_text(encoding="utf-8")
    (folder / "model.py").write_text(text + "\nCHANGED = True\n", encoding="utf-8")
    importlib.invalidate_caches()
    after = load_detector_units()["price.private_prices"]
    assert after.digest != before.digest
    second = model_class(after.loaded)
    assert second is not first
    assert sys.modules[second.__module__].CHANGED is True
    readme = folder / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "\nmore\n", encoding="utf-8")
    assert load_detector_units()["price.private_prices"].digest == after.digest, "a model card is no part of the unit"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "detector.yml",
            "id: price.wrong",
            "id: price.other",
            r"detector.yml:1: id 'price.other'; expected <family>.wrong",
        ),
        ("detector.yml", "id: price.wrong", "id: pricing.wrong", r"detector.yml:1: family 'pricing'"),
        ("detector.yml", "role: watch", "role: case", r"detector.yml:5: role: .*'watch'"),
        ("detector.yml", "window: week", "windows: week", r"unknown key 'windows'.*did you mean 'window'"),
        (
            "detector.yml",
            "status: active",
            "status: active\nquery: select 1",
            r"key 'query'; expected the query in features.sql",
        ),
        ("detector.yml", "name: swing,", "name: sway,", r"features.sql:1: no column sway"),
        ("detector.yml", "{reasons_en}", "{reason}", r"features.sql:1: no column reason"),
        ("detector.yml", "reads: [fact_price_net_price, ", "reads: [", r"reads: .*expected what features.sql reads"),
        ("detector.yml", "model: PriceSeriesOutlier", "model: Nothing", r"no class Nothing in model.py"),
        ("features.sql", "$min_looks", "$least_looks", r"features.sql:\d+: parameter \$least_looks"),
        ("features.sql", "from fact_price_net_price n", "from nowhere n", r"features.sql:\d+: relation 'nowhere'"),
        ("features.sql", "count(*) as looks,", "random() as looks,", r"features.sql:\d+: function rand"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(add_detector: Add, file: str, old: str, new: str, said: str) -> None:
    add_detector("wrong", (file, old, new))
    with pytest.raises(ContentError, match=said):
        load_detector_units()
    assert check_content().problems


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("import numpy as np", "import os\nimport numpy as np", r"model.py:7: import of os"),
        ("import numpy as np", "import numpy as np\nfrom fangcuan.store import base", r"import of fangcuan.store"),
        (
            "import numpy as np",
            "import numpy as np\nboom = 1 / 0",
            r"model.py:8: cannot be imported \(ZeroDivisionError",
        ),
        ("self.strongest = strongest", "self.strongest = strongest + 0 * 1\n        self.n = 1", r"__init__ sets n"),
        ("self.strongest = strongest", "self.strongest = [strongest]", r"__init__ changes strongest"),
        (
            ", random_state: int):",
            ", random_state: int, more: int = 1):\n        self.more = more",
            r"more not in detector.yml",
        ),
        ("self.typical_ = typical(X)", "self.typical_ = typical(X)\n        self.seen = 1", r"fit sets .*seen"),
        ("return np.asarray((1 -", "return np.zeros(len(X)) + 0 * np.asarray((1 -", r"1 different scores for 240 rows"),
        ("return np.asarray((1 -", "return -np.asarray((1 -", r"not the most abnormal"),
        ("random_state=self.random_state", "random_state=None", r"two fits give different scores"),
        ("        return self\n", "        return X\n", r"fit does not return self"),
        ("(BaseEstimator)", "", r"expected a subclass of sklearn.base.BaseEstimator"),
    ],
)
def test_a_model_that_breaks_the_contract_is_refused(add_detector: Add, old: str, new: str, said: str) -> None:
    add_detector("wrong", ("model.py", old, new))
    problems = model_problems(load_detectors()["price.wrong"])
    assert any(re.search(said, str(problem)) for problem in problems), problems
