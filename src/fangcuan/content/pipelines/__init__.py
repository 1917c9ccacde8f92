"""Units of pipelines/, imported as `fangcuan.content.pipelines.<id>` from the shipped folder and from overlays."""

from fangcuan.content.roots import folders

__path__ = folders("pipelines")
