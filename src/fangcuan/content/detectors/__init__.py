"""Units of detectors/, imported as `fangcuan.content.detectors.<id>` from the shipped folder and from overlays."""

from fangcuan.content.roots import folders

__path__ = folders("detectors")
