"""What can be captured."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Literal

from ._native import EngineUnavailableError, V2MError, _programs

# A sound server that hangs is not waited for any longer, in seconds.
PATIENCE = 20
# How the loader ends a program whose libraries it can't find.
NOT_LOADED = 127


@dataclass(frozen=True)
class Source:
    """Something that can be captured: `AudioCapture(source=source.name)`."""

    name: str
    """What `source=` takes."""
    description: str
    """What people call it."""
    kind: Literal["source", "monitor", "app", "alsa"]
    """`"source"`: a microphone or the like; `"monitor"`: what a sink plays; `"app"`: what a
    program plays; `"alsa"`: a PCM of ALSA's."""
    default: bool
    """It is captured where no source is named."""
    muted: bool
    """The desktop has muted it, or turned it down to nothing."""
    channels: int | None
    """How many it has; None while that isn't known."""
    rate: int | None
    """Its own rate in Hz; None while that isn't known. Streams have theirs."""


def sources() -> list[Source]:
    """What can be captured here and now: PipeWire's sources, or ALSA's.

    Asks the engine's program, which takes some tenths of a second. Blocks: with asyncio,
    `await asyncio.to_thread(sources)`.

    Raises:
        EngineUnavailableError: there is no program to ask.
        V2MError: neither PipeWire nor ALSA can be asked.
    """
    failed = "no program"
    for program in _programs():
        try:
            listing = subprocess.run(
                [program, "sources", "--json"],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                check=False,
                text=True,
                timeout=PATIENCE,
            )
        except OSError as error:
            failed = f"cannot start {program}: {error}"
            continue
        except subprocess.TimeoutExpired:
            raise V2MError(f"the sound server does not answer within {PATIENCE} s") from None
        if listing.returncode == NOT_LOADED:
            failed = f"cannot start {program}: {listing.stderr.strip()}"
            continue
        if listing.returncode:
            raise V2MError(listing.stderr.strip().removeprefix("v2m-engine: "))
        fields = Source.__dataclass_fields__
        listed = json.loads(listing.stdout)
        return [Source(**{name: one[name] for name in fields}) for one in listed]
    raise EngineUnavailableError(failed)
