"""The engine's own Python client, an engine of its own. What it is told to be missing it says.
Run by the interpreter that has v2m_engine."""

from __future__ import annotations

import sys

from common import GRAPH_RATE, Recorder, now

from v2m_engine import AudioCapture


def main() -> None:
    recorder = Recorder(GRAPH_RATE)
    missing = 0
    with AudioCapture(GRAPH_RATE, 480, engine="private").stream() as stream:
        for chunk in stream:
            recorder.take(now(), bytes(chunk))
            missing += len(chunk) * chunk.gap
            if recorder.over:
                break
    if missing:
        print(f"{missing / GRAPH_RATE:.1f} s flagged as gaps", file=sys.stderr, flush=True)
    recorder.write()


main()
