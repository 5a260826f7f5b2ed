"""soundcard: a recorder's record(). Usage: with_soundcard.py default|best"""

from __future__ import annotations

import sys

import soundcard
from common import GRAPH_RATE, QUANTUM, SPEECH_RATE, Recorder, now


def main() -> None:
    best = sys.argv[1] == "best"
    rate = GRAPH_RATE if best else SPEECH_RATE
    recorder = Recorder(rate)
    microphone = soundcard.default_microphone()
    blocksize = QUANTUM if best else None
    # numframes: 1024 is the README's; without any it gives what there is.
    frames = None if best else 1024
    with microphone.recorder(samplerate=rate, channels=1, blocksize=blocksize) as stream:
        while not recorder.over:
            block = stream.record(numframes=frames)
            recorder.take(now(), block.astype("float32").tobytes())
    recorder.write()


main()
