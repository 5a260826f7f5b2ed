"""What happens to a stream besides its audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Event:
    """Something that happened to a stream, and when."""

    kind: Literal[
        "speech-start", "speech-end", "gap", "mute", "unmute", "source", "channel", "state"
    ]
    """What it was:

    * `"speech-start"`: somebody speaks, as the engine's detection decided just now, within
      the last window (32 ms) of audio. `position` is where that speech begins.
    * `"speech-end"`: it ended at `position`, half a second ago; it was `length` long.
    * `"gap"`: lost audio, for which there is silence of this `length`. `detail` is the
      reason: `"xrun"` (the audio server or the driver skipped it), `"interrupted"` (capture
      stopped, or moved to another clock), `"continued"` (there is still none: this follows
      on the gap before), `"not-captured"` (nobody listened),
      `"suspended"` (the machine slept for as long as `length`, for which no samples stand).
    * `"mute"`: `v2m-engine mute` has silenced all readers; from here on there is silence.
      `"unmute"`: that has ended; it was `length` long.
    * `"source"`: from here on the source of the name `detail` is captured: a PipeWire node, an
      ALSA PCM (`"alsa:hw:0"`), the path of a file.
    * `"channel"`: from here on the channel of number `detail` (from 1) is heard.
    * `"state"`: the engine's state is `detail`: `"starting"`, `"running"`, `"waiting"` (no
      audio from the source; silence stands in), `"ended"`, `"idle"`, `"stopped"`; or
      `"lost"`: it is gone, and positions begin anew with the next one.
    """
    position: int
    """Position of the first sample that it concerns."""
    time_ns: int
    """When that was captured, CLOCK_MONOTONIC nanoseconds."""
    length: int = 0
    """Samples that it concerns, if there are any."""
    detail: str | None = None
    """More of it; None where there is no more to say."""
