"""Modules shaped like `sounddevice`, `pyaudio` and `soundcard` (their input side), over v2m_engine.

`import v2m_engine.compat.sounddevice as sounddevice` is the whole change in a program of one's
own. Programs and frameworks that import one of the three by themselves run unchanged under

    python -m v2m_engine.compat program.py arguments...
    python -m v2m_engine.compat -m package arguments...

or after `v2m_engine.compat.install()`.
"""

from __future__ import annotations

import importlib
import sys

MODULES = ("sounddevice", "pyaudio", "soundcard")

__all__ = ["MODULES", "install"]


def install(*names: str) -> None:
    """From now on `import sounddevice`, `pyaudio` or `soundcard` gives this package's module,
    in the whole process.

    Args:
        names: which of them; none: all.

    Raises:
        ValueError: another name.
        RuntimeError: the original is imported already; the message says what to do.
    """
    for name in names or MODULES:
        if name not in MODULES:
            raise ValueError(f"{name!r} has no look-alike here: {', '.join(MODULES)} have")
        ours = importlib.import_module(f"{__name__}.{name}")
        if sys.modules.setdefault(name, ours) is not ours:
            raise RuntimeError(
                f"{name} is imported already: call v2m_engine.compat.install() before whatever "
                f"imports it, or run the program by python -m v2m_engine.compat"
            )
