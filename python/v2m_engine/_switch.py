"""The interpreter's switch interval, lowered while a stream wants it so: how long a
thread with audio waits for one that runs pure Python to give up the GIL."""

from __future__ import annotations

import sys
import threading

# CPython counts in microseconds, and more than the longest nobody means.
LEAST, MOST = 1e-6, 1.0

# A stream that the collector finds restores it, perhaps in the midst of this.
_lock = threading.RLock()
_asked: list[Lowered] = []
# Before the first wish, and what we set last, as the interpreter told it then.
_program = _set = 0.0


class Lowered:
    """An interval of `seconds` at most, from `lower` to `restore`."""

    def __init__(self, seconds: float) -> None:
        if not LEAST <= seconds <= MOST:
            raise ValueError(f"switch_interval={seconds!r}: must be {LEAST:f} to 1 second, or None")
        self.seconds = seconds

    def lower(self) -> None:
        """From now on."""
        global _program
        with _lock:
            now = sys.getswitchinterval()
            # The program set another one meanwhile: that is what to go back to.
            if not _asked or now != _set:
                _program = now
            _asked.append(self)
            _apply()

    def restore(self) -> None:
        """Goes back to what the other streams want or, after the last of them, to what the
        program had set. An interval that the program set meanwhile is left alone."""
        with _lock:
            if self in _asked:
                _asked.remove(self)
                if sys.getswitchinterval() == _set:
                    _apply()


def _apply() -> None:
    global _set
    # CPython cuts to whole microseconds: half a one more, so that none is lost.
    sys.setswitchinterval(min([_program, *(one.seconds for one in _asked)]) + 0.5e-6)
    _set = sys.getswitchinterval()
