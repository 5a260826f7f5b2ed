"""Several rates of one source, and several sources, of a real graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rig import PrivatePipeWire
from rig.independent_reader import GAPS
from rig.peer import Peer
from rig.service import Engine

#: Longer than what a machine that loses cycles has between two of them by chance.
WHOLE = 8192


def longest_run(heard: np.ndarray, played: np.ndarray) -> int:
    """How many samples in a row are those that were played, bit for bit."""
    places = {sample: place for place, sample in enumerate(played.view(np.uint32).tolist())}
    found = np.array([places.get(sample, -1) for sample in heard.view(np.uint32).tolist()])
    follows = (np.diff(found) == 1) & (found[1:] >= 0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], follows, [0]])))
    return int(max((b - a for a, b in edges.reshape(-1, 2)), default=0))


def test_48_khz_of_48_khz_is_what_was_played_and_slower_rates_have_the_same_time(
    rig: PrivatePipeWire, tmp_path: Path
) -> None:
    played = np.random.default_rng(1).normal(0, 0.2, 96_000).astype(np.float32)
    played.tofile(tmp_path / "noise.f32")
    with Engine(rig, "--source", "rig-mic") as engine:
        rig.play(tmp_path / "noise.f32", "rig-mic", loop=True)
        peers = {rate: Peer(engine.socket, rate=rate) for rate in (48_000, 16_000, 24_000)}
        ring = peers[48_000].ring
        assert ring is not None
        begin = ring.committed()
        rig.wait_for(lambda: ring.committed() > begin + 96_000, "two seconds", timeout=30)
        heard = np.frombuffer(ring.samples(ring.committed() - 90_000, 90_000), np.float32)
        assert longest_run(heard, played) >= WHOLE
        for rate, peer in peers.items():
            other = peer.ring
            assert other is not None
            assert abs(other.committed() / rate - ring.committed() / 48_000) < 0.1
            last = other.committed() // other.window - 2
            times = [r.time_ns(last * r.window) for r in (ring, other)]
            assert abs(times[0] - times[1]) < 1_000_000, (rate, times)


def test_sixteen_sources_in_one_engine(rig: PrivatePipeWire, tmp_path: Path) -> None:
    for n in range(15):
        rig.create_source(f"mic-{n}")
    with Engine(rig, "--source", "rig-mic") as engine:
        peers = [Peer(engine.socket, source=f"mic-{n}") for n in range(15)]
        rings = [peer.ring for peer in peers]
        for n, ring in enumerate(rings):
            assert ring is not None, peers[n].reply
            rig.wait_for(lambda r=ring: r.committed() > 8_000, f"audio of mic-{n}", timeout=30)
        for ring in rings:
            assert ring is not None
            # What the graph itself lost on a busy machine, its clock says (an xrun).
            assert {gap.detail for gap in ring.records(GAPS)} <= {1}
