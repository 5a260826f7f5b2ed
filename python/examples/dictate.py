"""Dictation: what is said, as text, by a recogniser that runs on this machine.

Usage: python dictate.py [SOURCE]; Ctrl-C ends it. SOURCE is what `v2m-engine run --source`
takes: nothing (the service's source, or the default one), a node's name, `file:speech.wav`.

Needs `pip install pocketsphinx numpy`; pocketsphinx is small and brings its model of English.
For better text put another recogniser in its place: anything that takes 16 kHz float32 and
returns a string. With faster-whisper (`pip install faster-whisper`, any of its languages):

    from faster_whisper import WhisperModel

    model = WhisperModel("small")

    def recognise(samples):
        segments, _ = model.transcribe(samples, vad_filter=False)
        return "".join(segment.text for segment in segments)

It takes as long as it takes: utterances wait in the engine's memory, a minute by default.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import numpy.typing as npt
from pocketsphinx import Decoder

from v2m_engine import AudioCapture, OverrunError, V2MError

decoder = Decoder(samprate=16000, loglevel="FATAL")


def recognise(samples: npt.NDArray[np.float32]) -> str:
    """One utterance, 16 kHz, full scale 1.0."""
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return found.hypstr if found else ""


async def dictate(source: str | None) -> None:
    async with AudioCapture(source=source).stream() as audio:
        print(f"listening to {audio.source}; Ctrl-C ends", file=sys.stderr)
        segments = audio.segments()
        while True:
            try:
                segment = await anext(segments)
            except StopAsyncIteration:
                return
            except OverrunError as late:
                print(f"... {late.lost / 16000:.1f} s of speech came too fast", file=sys.stderr)
                continue
            # Not copied; in a thread, so that the loop runs on.
            text = await asyncio.to_thread(recognise, np.asarray(segment))
            if not segment.valid:
                print("... it was overwritten while it was recognised", file=sys.stderr)
            elif text:
                print(f"[{segment.position / 16000:7.2f} s] {text}", flush=True)


def main() -> int:
    try:
        asyncio.run(dictate(sys.argv[1] if len(sys.argv) > 1 else None))
    except KeyboardInterrupt:
        pass
    except (V2MError, ValueError) as error:
        print(f"dictate.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
