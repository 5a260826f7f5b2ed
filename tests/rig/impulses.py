"""The same impulses in several sources at once, and where they stand in a recording of these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rig.pipewire import Player, PrivatePipeWire
from rig.recorder import read_wav

#: An impulse is full scale, and nothing else that is played comes near.
THRESHOLD = 0.2
#: Where a graph is rearranged, cycles overlap: so far from a marked gap, in seconds, an
#: impulse may be missing as well. (A cue's length is rounded to 1 ms.)
EDGE_S = 0.002
#: Around a cycle that the player says it was late for, in seconds: a node may have run before what
#: was played reached it.
LATE_S = 0.03
#: For so long after sources were plugged in their first times, and clocks, are being learnt.
ANEW_S = 1.0


def play_into(rig: PrivatePipeWire, *names: str, seed: int = 7) -> Player:
    """Ten impulses a second into all channels of these nodes, in the same cycle of the graph."""
    player = rig.play_impulses(seed, names[0])
    for name in names:
        link_impulses(rig, name)
    return player


def link_impulses(rig: PrivatePipeWire, name: str) -> None:
    """Leads the impulses to all channels of one more node."""
    node = rig.node_id(name)
    ports = [item["info"] for item in rig.dump() if item["type"].endswith(":Port")]
    inputs = [
        f"{name}:{port['props']['port.name']}"
        for port in ports
        if port["direction"] == "input" and port["props"]["node.id"] == node
    ]
    linked = {after for _, after in rig.links()}
    for port in inputs:
        if port not in linked:
            rig.link("rig-player:output", port)


@dataclass
class Recorded:
    """A recording of two sources that hear the same impulses."""

    rate: int
    impulses: list[np.ndarray]
    """Where their middles are in each channel, in samples and parts of one."""
    gaps: list[list[tuple[float, float]]]
    """Of each channel, what its cues mark, in seconds of the file."""
    began_ns: int
    seconds: float
    labels: list[str] = field(default_factory=list)

    def off(self, channel: int) -> np.ndarray:
        """From each impulse of a channel to the nearest of the other."""
        own, other = self.impulses[channel], self.impulses[1 - channel]
        assert len(own) and len(other), "there are impulses in both"
        after = np.clip(np.searchsorted(other, own), 1, len(other) - 1)
        distances = other[np.stack([after - 1, after])] - own
        nearest = np.abs(distances).argmin(0)
        return np.asarray(distances[nearest, np.arange(len(own))])

    def assert_aligned(
        self,
        quiet: list[tuple[float, float]] | None = None,
        settled: float = 0,
        most: float = 1,
        players: Sequence[Player] = (),
    ) -> int:
        """Each impulse stands at the same sample in both channels, give or take ``most``, or one
        of them has a marked gap there; how many do. ``quiet``: stretches of CLOCK_MONOTONIC
        seconds in which not both were played to; ``settled``: from this second on. An impulse
        is missing rather than elsewhere if the other channel has none near it, and those beside it
        at the same samples: it may be, where one of ``players`` was late by its own account.
        """
        began = self.began_ns / 1e9
        silent = [(-1.0, settled)] + [(a - began - 0.3, b - began + ANEW_S) for a, b in quiet or []]
        late = [span for player in players for span in self.late(player)]
        together = 0
        for channel in (0, 1):
            excused = self.gaps[0] + self.gaps[1] + silent
            bounds = np.array(sorted(excused)).reshape(-1, 2)
            off = self.off(channel)
            is_there = np.abs(off) <= most
            together += int(is_there.sum())
            for n in np.flatnonzero(~is_there):
                at = self.impulses[channel][n] / self.rate
                if ((bounds[:, 0] - EDGE_S <= at) & (at <= bounds[:, 1] + EDGE_S)).any():
                    continue
                beside = is_there[max(n - 1, 0) : n + 2]
                said = (
                    f"channel {channel + 1} at {at:.4f} s: off by {off[n]} samples, no gap marked"
                )
                is_missing = abs(off[n]) > EDGE_S * self.rate and beside.sum() == len(beside) - 1
                was_late = any(begin <= at <= end for begin, end in late)
                assert is_missing and was_late, (
                    f"{said}{', but missing' if is_missing else ''} among "
                    f"{bounds.round(4).tolist()}, player late {np.round(late, 4).tolist()}"
                )
        return together

    def late(self, player: Player) -> list[tuple[float, float]]:
        """Where in the recording what it played may not have been heard everywhere."""
        noticed = [(end - first, ns - self.began_ns) for first, end, ns in player.late_at]
        return [
            (ns / 1e9 - length / self.rate - LATE_S, ns / 1e9 + LATE_S) for length, ns in noticed
        ]


def middles(channel: np.ndarray) -> np.ndarray:
    """Of each run of samples that stand out, by how far they do: an impulse of one sample is
    where that is, a bell is found to a hundredth of a sample.
    """
    out = np.flatnonzero(np.abs(channel) > THRESHOLD)
    begins = np.flatnonzero(np.diff(out, prepend=-2) > 1)
    if not len(out):
        return np.zeros(0)
    # In half an hour a sample is a part in 10^8.
    weights = np.abs(channel[out]).astype(np.float64) - THRESHOLD
    return np.asarray(np.add.reduceat(out * weights, begins) / np.add.reduceat(weights, begins))


def read(path: Path) -> Recorded:
    wav = read_wav(path)
    samples = wav.samples
    assert samples.ndim == 2 and samples.shape[1] == 2
    began = re.search(r"CLOCK_MONOTONIC (\d+) ns", wav.comment)
    assert began, wav.comment
    rate = 48_000
    gaps: list[list[tuple[float, float]]] = [[], []]
    for at, label in wav.cues:
        matched = re.fullmatch(r"(?:gap|lost|unused) ([\d.]+) s(?: channel (\d) \(.*\))?", label)
        assert matched, label
        channels = [int(matched[2]) - 1] if matched[2] else [0, 1]
        for channel in channels:
            gaps[channel].append((at / rate, at / rate + float(matched[1])))
    return Recorded(
        rate=rate,
        impulses=[middles(samples[:, n]) for n in (0, 1)],
        gaps=gaps,
        began_ns=int(began[1]),
        seconds=len(samples) / rate,
        labels=[label for _, label in wav.cues],
    )
