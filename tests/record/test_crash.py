"""Killed at any moment: every file opens, and at most the last sync interval is missing."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rig import wait_until
from rig.decoding import opens
from rig.recorder import LONG, RATE, Service, Tape, noise
from rig.watch import Watch

Engine = Callable[..., Service]

ROUNDS = 200 if LONG else 9
SYNC = 0.2
FORMS = (("wav", []), ("wav", ["--format", "wav16"]), ("flac", []))


@pytest.mark.parametrize("victim", ["recorder", "engine", "both"])
def test_kill_9(engine: Engine, tmp_path: Path, victim: str, writing: tuple[str, ...]) -> None:
    """What the ring held one interval before the kill is in the file.

    But for what the machine itself withheld from the recorder, as measured meanwhile.
    """
    rounds = -(-ROUNDS // 6) if LONG else -(-ROUNDS // 3)
    played = noise(120, seed=5)
    dice = random.Random()
    service = engine(played)
    for turn in range(rounds):
        if service.process.poll() is not None or service.position() > 100 * RATE:
            service.kill()
            service = engine(played)
        extension, arguments = FORMS[turn % 3]
        out = tmp_path / f"{victim}-{turn}.{extension}"
        watch = Watch(service.env["V2M_ENGINE_SOCKET"], tmp_path)
        tape: Tape = service.start(out, "--sync", str(SYNC), *arguments, before=writing)
        watch.pid = tape.process.pid
        wait_until(out.exists, "the file")
        # From its first moment on; as one read finds it, since it grows.
        first = out.with_stem("first")
        first.write_bytes(out.read_bytes())
        opens(first, played)
        time.sleep(dice.uniform(0, 1.5 if LONG else 0.8))
        killed, end = time.monotonic(), watch.ring.committed()
        if victim == "engine":
            service.kill()
            # It waits for another engine, until it is told to end.
            assert tape.stop() == 0, tape.said
        else:
            tape.process.kill()
            if victim == "both":
                service.kill()
            os.waitid(os.P_PID, tape.process.pid, os.WEXITED | os.WNOWAIT)
        watch.stop()
        if victim != "engine":
            tape.kill()
        position, length = opens(out, played)
        late = watch.withheld(killed, SYNC)
        least = watch.committed(killed - SYNC - late)
        print(f"{victim} {turn}: lacks {(end - position - length) / RATE:.3f} s, late {late:.3f} s")
        assert position + length >= min(least, end), (position, length, least, late)
        if victim == "engine":
            assert position + length >= end, "not all that the ring held"
        out.unlink()
