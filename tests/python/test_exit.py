"""The end of an interpreter that has daemon threads inside of the module: they come back
for the GIL while it is torn down, and CPython ends or parks them there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from support import Recording

INSIDE = """
import array, sys, threading, time
from v2m_engine import AudioCapture, VADProcessor

class Late:  # is collected when the interpreter ends, and lets others have the GIL meanwhile
    def __del__(self, sleep=time.sleep):
        sleep(0.2)

late, vad, noise = Late(), VADProcessor(), array.array("f", bytes(64_000))
capture = AudioCapture(engine="private", source=sys.argv[1], buffer_size=160)

def detecting():
    vad.probabilities(noise)

def reading():
    next(stream)

def waiting():
    recording.wait(0.01)

what = sys.argv[2]
if what == "reading":
    stream = capture.stream().__enter__()
if what == "waiting":
    recording = capture.record(sys.argv[3]).__enter__()

def work():
    while True:
        globals()[what]()

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
print("the end", flush=True)
"""


@pytest.mark.parametrize("what", ["detecting", "reading", "waiting"])
def test_daemon_threads_at_exit(
    recording: Callable[..., Recording], what: str, tmp_path: os.PathLike[str]
) -> None:
    source = recording(20).source
    for number in range(3):
        out = os.path.join(tmp_path, f"{number}.wav")
        done = subprocess.run(
            [sys.executable, "-c", INSIDE, source, what, out],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "the end\n"), done
        assert "Fatal" not in done.stderr and "panicked" not in done.stderr, done
