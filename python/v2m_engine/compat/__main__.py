"""Runs a program on this package's sounddevice, pyaudio and soundcard; see the package."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from . import install

USAGE = "usage: python -m v2m_engine.compat [-m MODULE | PROGRAM.py] [ARGUMENT...]"


def main() -> None:
    """As `python` itself would run it: `sys.argv`, `sys.path[0]` and `__main__` are its own."""
    arguments = sys.argv[1:]
    as_module = arguments[:1] == ["-m"]
    if as_module:
        arguments.pop(0)
    if not arguments or arguments[0].startswith("-"):
        sys.exit(USAGE)
    install()
    sys.argv = arguments
    if as_module:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
