"""What sounddevice's callbacks get and raise."""

from __future__ import annotations

import time
from typing import ClassVar

INPUT_OVERFLOW = 0x2


class PortAudioError(Exception):
    """`args`: the message, and PortAudio's code where there is one."""

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        return f"{text} [PaErrorCode {self.args[1]}]" if len(self.args) > 1 else text


class CallbackStop(Exception):
    """Raised by a callback that wants no more blocks."""


class CallbackAbort(Exception):
    """Raised by a callback that wants no more blocks."""


class CallbackFlags:
    """What happened to the samples before a block, or in it."""

    __slots__ = ("_flags",)
    _NAMES: ClassVar[dict[str, int]] = {
        "input_underflow": 0x1,
        "input_overflow": INPUT_OVERFLOW,
        "output_underflow": 0x4,
        "output_overflow": 0x8,
        "priming_output": 0x10,
    }

    def __init__(self, flags: int = 0) -> None:
        """
        Args:
            flags: PortAudio's bits.
        """
        self._flags = flags

    def __repr__(self) -> str:
        return f"<sounddevice.CallbackFlags: {self or 'no flags set'}>"

    def __str__(self) -> str:
        set_ = (name for name, flag in sorted(self._NAMES.items()) if self._flags & flag)
        return ", ".join(name.replace("_", " ") for name in set_)

    def __bool__(self) -> bool:
        return bool(self._flags)

    def __ior__(self, other: object) -> CallbackFlags:
        if not isinstance(other, CallbackFlags):
            return NotImplemented
        self._flags |= other._flags
        return self

    def _set(self, flag: int, value: bool) -> None:
        self._flags = self._flags | flag if value else self._flags & ~flag

    @property
    def input_overflow(self) -> bool:
        """Samples were lost before the block or in it: by a callback that was too late, or by
        the sound server."""
        return bool(self._flags & INPUT_OVERFLOW)

    @input_overflow.setter
    def input_overflow(self, value: bool) -> None:
        self._set(INPUT_OVERFLOW, value)

    @property
    def input_underflow(self) -> bool:
        """Doesn't happen to streams of input only."""
        return bool(self._flags & 0x1)

    @input_underflow.setter
    def input_underflow(self, value: bool) -> None:
        self._set(0x1, value)

    @property
    def output_underflow(self) -> bool:
        """There is no output."""
        return bool(self._flags & 0x4)

    @output_underflow.setter
    def output_underflow(self, value: bool) -> None:
        self._set(0x4, value)

    @property
    def output_overflow(self) -> bool:
        """There is no output."""
        return bool(self._flags & 0x8)

    @output_overflow.setter
    def output_overflow(self, value: bool) -> None:
        self._set(0x8, value)

    @property
    def priming_output(self) -> bool:
        """There is no output."""
        return bool(self._flags & 0x10)


class TimeInfo:
    """A callback's third argument. Seconds of `time.monotonic()`."""

    __slots__ = ("currentTime", "inputBufferAdcTime", "outputBufferDacTime")

    def __init__(self, captured: float) -> None:
        """
        Args:
            captured: seconds, of the block's first sample.
        """
        self.inputBufferAdcTime = captured
        self.currentTime = time.monotonic()
        self.outputBufferDacTime = 0.0


# As programs know them.
for _class in (PortAudioError, CallbackStop, CallbackAbort, CallbackFlags):
    _class.__module__ = "v2m_engine.compat.sounddevice"
