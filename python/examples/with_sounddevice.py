"""sounddevice's way of working: a callback on a thread, one import line changed.

Needs `pip install numpy`.
"""

import queue

import v2m_engine.compat.sounddevice as sd

blocks: queue.Queue[bytes] = queue.Queue()


def callback(indata, frames, time, status):  # type: ignore[no-untyped-def]
    blocks.put(indata.copy())


with sd.InputStream(samplerate=16000, channels=1, blocksize=1600, callback=callback):
    while True:
        print(f"{abs(blocks.get()).max():.4f}", flush=True)
