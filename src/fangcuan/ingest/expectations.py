"""Great Expectations, set up once per process: no files, no telemetry, no progress bars."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import pandas as pd

from fangcuan.ingest.rules import Ask


@dataclass(frozen=True)
class Found:
    """`rows` are positions in the frame of rows that break an expectation; empty when only screened."""

    broken: bool
    rows: tuple[int, ...] = ()


class GateError(Exception):
    """An expectation could not be evaluated: a fault of the gate, never a property of the data."""


_lock = threading.Lock()
_batch_definition: Any = None


def validate(frame: pd.DataFrame, asks: Mapping[str, Ask], *, detail: bool) -> dict[str, Found]:
    """The answer of every expectation in `asks`, by its name. With `detail` the rows at fault are named."""
    if not asks:
        return {}
    if frame.empty:
        return dict.fromkeys(asks, Found(False))
    names = tuple(asks)
    suite = _suite(tuple(asks.values()))
    form = {"result_format": "COMPLETE" if detail else "BOOLEAN_ONLY"}
    with _lock:
        batch = _definition().get_batch(batch_parameters={"dataframe": frame})
        outcome = batch.validate(suite, result_format=form)
    # Great Expectations may answer in another order; the name travels in the expectation's meta.
    found: dict[str, Found] = {}
    for result in outcome.results:
        at = int(result.expectation_config.meta["at"])
        if result.exception_info and result.exception_info.get("raised_exception"):
            raise GateError(f"{names[at]}: {result.exception_info.get('exception_message')}")
        rows = tuple(int(row) for row in result.result.get("unexpected_index_list") or ()) if detail else ()
        found[names[at]] = Found(not result.success, rows)
    if len(found) != len(names):
        raise GateError(f"{len(found)} answers to {len(names)} expectations")
    return found


@lru_cache(maxsize=256)
def _suite(asks: tuple[Ask, ...]) -> Any:
    _definition()
    from great_expectations.core.expectation_suite import ExpectationSuite

    suite = ExpectationSuite(name="gate")
    kinds = _kinds()
    for at, ask in enumerate(asks):
        arguments = {key: list(value) if isinstance(value, tuple) else value for key, value in ask.arguments}
        suite.add_expectation(kinds[ask.type](meta={"at": at}, **arguments))
    return suite


@cache
def _kinds() -> dict[str, Any]:
    """The expectations the gate uses, by Great Expectations' own names.

    Great Expectations 1.x builds an expectation's configuration anew about 130 times per validation, two thirds of what a
    small batch costs. These subclasses keep it; they change nothing else.
    """
    import great_expectations.expectations as gxe
    from great_expectations.compatibility import pydantic

    def keeping(base: Any) -> Any:
        def configuration(self: Any) -> Any:
            if self._kept is None:
                self._kept = base.configuration.fget(self)
            return self._kept

        body = {
            "__module__": __name__,
            "__doc__": base.__doc__,
            "_kept": pydantic.PrivateAttr(default=None),
            "configuration": property(configuration),
        }
        return type(base)(f"{base.__name__}InGate", (base,), body)

    return {
        "expect_column_values_to_not_be_null": keeping(gxe.ExpectColumnValuesToNotBeNull),
        "expect_column_values_to_be_in_set": keeping(gxe.ExpectColumnValuesToBeInSet),
        "expect_column_values_to_be_between": keeping(gxe.ExpectColumnValuesToBeBetween),
        "expect_column_values_to_match_regex": keeping(gxe.ExpectColumnValuesToMatchRegex),
    }


def _definition() -> Any:
    """The one batch definition of this process, made on first use (importing Great Expectations takes seconds)."""
    global _batch_definition
    if _batch_definition is None:
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
        import great_expectations as gx
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )

        # Said in full: a context that is not told so makes a folder for pages of its own among the temporary files.
        in_memory = DataContextConfig(store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False))
        context = gx.get_context(project_config=in_memory, mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        source = context.data_sources.add_pandas("chunks")
        _batch_definition = source.add_dataframe_asset("chunk").add_batch_definition_whole_dataframe("whole")
    return _batch_definition
