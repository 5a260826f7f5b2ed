"""Barge-in: a voice that falls silent as soon as somebody speaks.

Usage: python interrupt.py COMMAND...; the command plays something through the default sink:

    python interrupt.py pw-play answer.wav
    python interrupt.py espeak-ng "It is a quarter past three, and the sun sets at half past nine."

It listens to `clean`, the microphone without what the loudspeaker plays, so that the voice doesn't
interrupt itself. While the engine doesn't know the room yet (`converging`), some of the voice may
be left, and isn't taken for somebody.
"""

from __future__ import annotations

import asyncio
import sys
import time

from v2m_engine import AudioCapture, AudioStream, V2MError


async def interruption(audio: AudioStream) -> float:
    """Waits until somebody speaks: when they began, in seconds of `time.monotonic()`."""
    async for event in audio.events():
        if event.kind == "speech-start" and not any(e.converging for e in audio.latest().echo):
            return event.time_ns / 1e9
    raise V2MError("the microphone has ended")


async def play(command: list[str]) -> None:
    async with AudioCapture(source="clean").stream() as audio:
        begun = time.monotonic()
        voice = await asyncio.create_subprocess_exec(*command)
        somebody = asyncio.create_task(interruption(audio))
        end = asyncio.create_task(voice.wait())
        try:
            await asyncio.wait([somebody, end], return_when=asyncio.FIRST_COMPLETED)
            if somebody.done():
                print(f"interrupted after {somebody.result() - begun:.1f} s", flush=True)
            else:
                print("played to the end", flush=True)
        finally:
            somebody.cancel()
            if voice.returncode is None:
                voice.terminate()
            await end


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    try:
        asyncio.run(play(sys.argv[1:]))
    except KeyboardInterrupt:
        pass
    except (V2MError, OSError) as error:
        print(f"interrupt.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
