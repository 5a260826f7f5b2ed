"""PyAudio: blocking reads or a callback, as its documentation's examples do it.
Usage: with_pyaudio.py blocking|callback default|best"""

from __future__ import annotations

import sys

import pyaudio
from common import GRAPH_RATE, QUANTUM, SPEECH_RATE, Recorder, now


def main() -> None:
    way, form = sys.argv[1:]
    best = form == "best"
    rate = GRAPH_RATE if best else SPEECH_RATE
    # 1024: the CHUNK of its examples.
    frames = QUANTUM if best else 1024
    recorder = Recorder(rate)

    def arrived(data, count, time_info, status):
        recorder.take(now(), data)
        if status:
            print("status", status, file=sys.stderr, flush=True)
        return None, pyaudio.paContinue

    audio = pyaudio.PyAudio()
    stream = audio.open(
        format=pyaudio.paFloat32,
        channels=1,
        rate=rate,
        input=True,
        frames_per_buffer=frames,
        stream_callback=arrived if way == "callback" else None,
    )
    if way == "callback":
        recorder.wait()
    else:
        while not recorder.over:
            data = stream.read(frames, exception_on_overflow=False)
            recorder.take(now(), data)
    stream.stop_stream()
    stream.close()
    audio.terminate()
    recorder.write()


main()
