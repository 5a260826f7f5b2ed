"""What was played is what arrives, sample by sample, through a real graph."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from rig import Player, PrivatePipeWire
from rig.reference import CLEAN, KERNEL, Samples, at_16k, first_clean, locate, speech_with_marker
from rig.service import Engine
from v2m_engine import AudioCapture, AudioStream

SECONDS = {64: 20, 256: 60, 1024: 60}
#: Small, so that a gap hides little; dividing nothing that the graph counts in.
HOP = 160


@dataclass
class Run:
    """A graph, an engine in it, and what a client of it got."""

    quantum: int
    player: Player
    stream: AudioStream
    chunks: list[Samples] = field(default_factory=list)
    gaps: list[bool] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    def capture(self, seconds: float) -> None:
        """Chunks of HOP samples, whether each holds a gap, and their positions."""
        for chunk in self.stream:
            self.chunks.append(np.array(chunk.copy(), dtype=np.float32))
            self.gaps.append(chunk.gap)
            self.positions.append(chunk.position)
            if len(self.chunks) * HOP >= seconds * 16_000:
                break

    def check(self, played: Samples, late: list[tuple[int, int]]) -> None:
        p0, _rate, _clock = self.player.started()[-1]
        lossy = self.quantum == 64
        assert np.all(np.diff(self.positions) == HOP), "a chunk is missing or came twice"
        captured = np.concatenate(self.chunks)
        flagged = np.repeat(np.array(self.gaps), HOP)
        # At 64 these machines lose cycles by themselves; more than this is our doing.
        assert flagged.mean() < (0.9 if lossy else 0.05), f"{flagged.mean():.1%} flagged"

        # The stream may begin a little before the player, in silence.
        references = at_16k(np.concatenate([np.zeros(48_000, np.float32), played]))
        clean = first_clean(flagged, from_=32_000)
        phase, offset = locate(captured[clean : clean + CLEAN], references)
        expected = references[phase][offset - clean :][: len(captured)]
        assert len(expected) == len(captured), "more was captured than was played"
        # Where the graph did not wait for the player, what was heard may be the cycle before
        # in the place of the next; it takes a few cycles until the player is in step again.
        first = p0 + 3 * (offset - clean) + phase - 48_000
        margin = KERNEL + max(4 * self.quantum, 1024)
        for start, end in late:
            begin = max(0, (start - margin - first) // 3)
            flagged[begin : max(0, (end + margin - first) // 3 + 1)] = True
        assert flagged.mean() < (0.9 if lossy else 0.1), f"{flagged.mean():.1%} not compared"
        error = np.abs(captured - expected)
        wrong = np.flatnonzero((error > 2e-6) & ~flagged)
        assert wrong.size == 0, (
            f"{wrong.size} samples outside of gaps are not what was played, "
            f"the first at {wrong[0]}: off by {error[wrong[0]]:.2g}"
        )
        correlation = np.corrcoef(captured[~flagged], expected[~flagged])[0, 1]
        assert correlation > 0.999


# Two graphs at a time where there is a minute to wait for.
@pytest.mark.parametrize("quanta", [(256, 1024), (64,)], ids=str)
def test_what_was_played_is_what_arrives(
    quanta: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = max(SECONDS[quantum] for quantum in quanta)
    played = speech_with_marker(seconds + 15)
    path = tmp_path / "played.f32"
    played.tofile(path)
    runs: list[Run] = []
    with ExitStack() as stack:
        players: list[tuple[Player, str]] = []
        for quantum in quanta:
            rig = stack.enter_context(PrivatePipeWire(quantum=quantum))
            engine = stack.enter_context(Engine(rig))
            rig.wait_for_links("rig-mic", "v2m-engine")
            players.append((stack.enter_context(rig.play(str(path), "rig-mic")), engine.socket))
        for quantum, (player, socket) in zip(quanta, players, strict=True):
            player.started()
            monkeypatch.setenv("V2M_ENGINE_SOCKET", socket)
            stream = AudioCapture(engine="service", buffer_size=HOP).stream(timeout=20)
            runs.append(Run(quantum, player, stack.enter_context(stream)))
        # Beside it, Python does what a transcriber does to its threads.
        stop = threading.Event()
        busy = threading.Thread(target=hog, args=(stop,))
        busy.start()
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(Run.capture, runs, repeat(seconds)))
        finally:
            stop.set()
            busy.join()
        late = [run.player.late for run in runs]
    for run, cycles in zip(runs, late, strict=True):
        run.check(played, cycles)


def hog(stop: threading.Event) -> None:
    """Runs nothing but Python."""
    while not stop.is_set():
        hash(str(stop))
