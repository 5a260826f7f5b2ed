"""Speech through a real graph: what the engine publishes is what the reference model
says of what was played, window by window."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from rig import PrivatePipeWire
from rig.reference import CLEAN, KERNEL, at_16k, first_clean, locate
from rig.service import Engine
from rig.speech_track import WINDOW, connect, difference, read
from rig.vad_reference import Reference, dictation

#: `make test-vad` has 630.
SECONDS = float(os.environ.get("V2M_VAD_LIVE_SECONDS", "35"))
QUANTUM = 256
#: Silence before the recording, in which the engine may begin to listen.
LEAD = 20


def test_live_speech_gets_what_the_reference_says_of_what_was_played(
    rig: PrivatePipeWire, tmp_path: Path
) -> None:
    # Each sample three times: as good a recording at 48 kHz as any.
    played = np.repeat(dictation((SECONDS + 15) / 60), 3)
    path = tmp_path / "played.f32"
    played.tofile(path)
    history = str(int(SECONDS) + 60)
    with Engine(rig, "--vad-hearing", "plain", "--history", history) as engine:
        peer, ring = connect(engine.socket)
        rig.wait_for_links("rig-mic", "v2m-engine")
        with rig.play(str(path), "rig-mic") as player:
            p0, _rate, _clock = player.started()[-1]
            start, end = ring.committed(), ring.committed() + int(SECONDS * 16_000)
            half, held = (start + end) // 2, False
            deadline = time.monotonic() + SECONDS + 60
            while ring.committed() < end:
                assert time.monotonic() < deadline, "no audio"
                time.sleep(0.05)
                if not held and ring.committed() > half:
                    # A loss in the middle of it: the graph goes on without the engine.
                    held = True
                    engine.process.send_signal(signal.SIGSTOP)
                    time.sleep(0.4)
                    engine.process.send_signal(signal.SIGCONT)
            late = player.late
            time.sleep(0.2)
            track = read(ring)
    del peer
    assert track.gaps.any(), "the loss in the middle shows nowhere"
    assert 0.2 < float(np.mean(track.probabilities > 0.5)) < 0.9

    # Of the samples in the ring: every window, gaps and all.
    assert difference(track) <= 1e-4

    # Of what was played: each window where it must be. Only where audio was lost, or
    # the graph did not wait for the player, the ring's own samples stand in.
    captured = track.samples
    unknown = np.repeat(track.gaps, WINDOW)
    references = at_16k(np.concatenate([np.zeros(LEAD * 48_000, np.float32), played]))
    clean = first_clean(unknown, from_=start + 32_000)
    phase, offset = locate(captured[clean : clean + CLEAN], references)
    expected = references[phase][offset - clean :][: len(captured)].astype(np.float32)
    assert len(expected) == len(captured), "more was captured than was played"
    first = p0 + 3 * (offset - clean) + phase - LEAD * 48_000
    margin = KERNEL + 4 * QUANTUM
    for begin, finish in [(p0, p0), *late]:
        unknown[
            max(0, (begin - margin - first) // 3) : max(0, (finish + margin - first) // 3 + 1)
        ] = True
    assert unknown.mean() < 0.1, f"{unknown.mean():.1%} not compared"
    heard = np.where(unknown, captured, expected)
    found = Reference().probabilities(heard, track.gaps)
    assert np.max(np.abs(found - track.probabilities)) <= 1e-4
