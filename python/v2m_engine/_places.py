"""What may be installed beside this package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def engines() -> list[Path]:
    """Where the engine's program may be: in the package, or beside the interpreter."""
    package = Path(__file__).parent / "bin" / "v2m-engine"
    return [package, Path(sys.executable).parent / "v2m-engine"]


def onnxruntime() -> Path | None:
    """The directory of the package onnxruntime, found without importing it."""
    try:
        found = importlib.util.find_spec("onnxruntime")
    except (ImportError, ValueError):
        return None
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0])
