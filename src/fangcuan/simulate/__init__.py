"""Synthetic worlds with truth; detectors never import it.

`simulate(preset("sample"), folder)` writes a world folder; `serve` offers parts of it over HTTP and SQL.
"""

from fangcuan.simulate.families import Planting
from fangcuan.simulate.spec import KINDS, PRESETS, WorldSpec, describe_families, family_preset, preset

__all__ = ["KINDS", "PRESETS", "Planting", "WorldSpec", "describe_families", "family_preset", "preset"]
