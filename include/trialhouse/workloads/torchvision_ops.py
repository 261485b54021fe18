"""Letting `import torchvision` work beside a CPU build of torch."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def import_torchvision() -> Any:
    """The torchvision package.

    torchvision's wheel on the registry needs CUDA libraries to load its compiled operators; without them the import
    itself dies on `operator torchvision::nms does not exist`. Declaring the two operators that it registers Python
    kernels for lets models, transforms and data sets import. Only where the real ones are missing: they may be there.
    """
    import torch

    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        import sys

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision._trialhouse_library = library  # the declarations live as long as this object
    return torchvision
