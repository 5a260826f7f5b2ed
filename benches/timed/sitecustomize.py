"""On PYTHONPATH it writes down when `speech_timestamps_many` is called: for `vad_clusters.py`.

With V2M_BENCH_ROUNDS nothing is detected: so many rounds of arithmetic stand for each recording.
"""

from __future__ import annotations

import os
import time
from hashlib import pbkdf2_hmac
from typing import Any

import v2m_engine

Real = v2m_engine.VADProcessor
ROUNDS = int(os.environ.get("V2M_BENCH_ROUNDS", 0))


class Timed:
    def __init__(self, **parameters: Any) -> None:
        # Not a processor: it would be pickled under the name that is now this class's.
        self.parameters = parameters

    def speech_timestamps_many(self, items: list[Any], jobs: int, **form: Any) -> list[Any]:
        begin = time.monotonic()
        if ROUNDS:
            for _ in items:
                pbkdf2_hmac("sha256", b"", b"", ROUNDS)
            found: list[Any] = [[] for _ in items]
        else:
            found = Real(**self.parameters).speech_timestamps_many(items, jobs, **form)
        with open(os.environ["V2M_BENCH_CALLS"], "a") as calls:
            calls.write(f"{os.getpid()} {begin} {time.monotonic()} {len(items)}\n")
        return found


v2m_engine.VADProcessor = Timed
