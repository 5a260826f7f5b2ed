"""What is found in audio that comes in pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, repr=False)
class VADEvent:
    """What a `VADStream` found. Equal to another of the same kind and place."""

    kind: Literal["start", "end", "misfire"]
    """Of speech "start" and "end", pads included; "misfire" instead of "end" where it was too
    short to be any."""
    position: int
    """In samples since the first piece."""
    time: float
    """The same in seconds."""

    def __repr__(self) -> str:
        return f"<VADEvent {self.kind} at {self.position} ({self.time:.3f} s)>"
