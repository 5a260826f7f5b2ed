"""sounddevice's way of working: a callback on a thread, one import line changed.

Needs `pip install numpy`.
"""

import queue
from typing import Any

import v2m_engine.compat.sounddevice as sd

blocks: queue.Queue[Any] = queue.Queue()


def callback(indata: Any, frames: int, time: Any, status: sd.CallbackFlags) -> None:
    blocks.put(indata.copy())


with sd.InputStream(samplerate=16000, channels=1, blocksize=1600, callback=callback):
    while True:
        print(f"{abs(blocks.get()).max():.4f}", flush=True)
