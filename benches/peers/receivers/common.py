"""What the receivers share: the recorder that the project's own use, and the facts of
the run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "crates/bench/python"))

from recorder import Recorder, now

QUANTUM = int(os.environ["PEER_QUANTUM"])
"""Samples of one cycle of the graph."""
GRAPH_RATE = 48000
SPEECH_RATE = 16000
"""What speech software asks for."""

__all__ = ["GRAPH_RATE", "QUANTUM", "SPEECH_RATE", "Recorder", "now"]
