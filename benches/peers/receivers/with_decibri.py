"""decibri: a Microphone that is iterated, as its README begins; int16 unless asked for float32.
Usage: with_decibri.py default|best"""

from __future__ import annotations

import sys
from array import array

import decibri
from common import GRAPH_RATE, QUANTUM, SPEECH_RATE, Recorder, now


def main() -> None:
    best = sys.argv[1] == "best"
    rate = GRAPH_RATE if best else SPEECH_RATE
    recorder = Recorder(rate)
    settings = {"frames_per_buffer": QUANTUM, "dtype": "float32"} if best else {}
    with decibri.Microphone(sample_rate=rate, channels=1, **settings) as microphone:
        for chunk in microphone:
            held = now()
            recorder.take(held, chunk if best else floats(chunk))
            if recorder.over:
                break
    recorder.write()


def floats(chunk: bytes) -> bytes:
    return array("f", (sample / 32768 for sample in memoryview(chunk).cast("h"))).tobytes()


main()
