"""Torchvision where its compiled operators do not load: what its import asks for, in their place.

The torchvision of the package index is built for a CUDA torch. Beside a CPU-only torch its
operators (nms, roi_align) are missing, and the module that describes them to the compiler makes
the whole import fail (``operator torchvision::nms does not exist``). Networks and transforms need
none of them, so that one module is replaced by an empty one. Builds whose operators load, which
includes every CUDA torch, are left as they are.

Torchvision itself is not imported here: `wrap` does this for a user's own ``import torchvision``.
"""

from __future__ import annotations

import sys
import types
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import torch

_DESCRIPTIONS = "torchvision._meta_registrations"


def _operators_load() -> bool:
    """Load torchvision's operators as its own import does; a second load costs nothing."""
    spec = find_spec("torchvision")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for library in (Path(folder) / f"_C{suffix}" for suffix in EXTENSION_SUFFIXES):
            if library.is_file():
                try:
                    torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
                except OSError:
                    return False
                return True
    return False


def let_torchvision_import() -> None:
    """Make ``import torchvision`` work in this process, where its operators do not load."""
    if torch.version.cuda is None and "torchvision" not in sys.modules and not _operators_load():
        sys.modules[_DESCRIPTIONS] = types.ModuleType(_DESCRIPTIONS)
