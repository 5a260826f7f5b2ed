"""The interpreter's switch interval, lowered while a stream wants it so: how long a
thread with audio waits for one that runs pure Python to give up the GIL."""

from __future__ import annotations

import sys
import threading

# A stream that the collector finds restores it, perhaps in the midst of this.
_lock = threading.RLock()
_asked: list[float] = []
# Before the first wish, and what we set last, as the interpreter told it then.
_program = _set = 0.0


def lower(seconds: float) -> None:
    """Has the interval be `seconds` at most, until `restore(seconds)`."""
    global _program
    with _lock:
        now = sys.getswitchinterval()
        # The program set another one meanwhile: that is what to go back to.
        if not _asked or now != _set:
            _program = now
        _asked.append(seconds)
        _apply()


def restore(seconds: float) -> None:
    """Goes back to what the other streams want or, after the last of them, to what the
    program had set. An interval that the program set meanwhile is left alone."""
    with _lock:
        _asked.remove(seconds)
        if sys.getswitchinterval() == _set:
            _apply()


def _apply() -> None:
    global _set
    # CPython cuts to whole microseconds: half a one more, so that none is lost.
    sys.setswitchinterval(min([_program, *_asked]) + 0.5e-6)
    _set = sys.getswitchinterval()
