"""What was taken off a microphone because a loudspeaker played it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Echo:
    """What was done to 32 ms of the source `clean`, as of their last 10 ms."""

    cancelled_db: float
    """By how many dB the microphone became softer; 0 where nothing plays."""
    plays: bool
    """The loudspeaker plays, or its echo may still be heard."""
    both: bool
    """Both sides speak: somebody interrupts what plays."""
    converging: bool
    """The room isn't known yet, at the beginning and after a change of microphone or
    loudspeaker, for two seconds at most; or what was played isn't, as where a machine is too
    busy. Some of what plays may be left."""
