"""Sources that are read together are driven by one clock; those that are not, are not."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from rig import PrivatePipeWire
from rig.peer import Peer
from rig.service import Engine
from v2m_engine import AudioCapture, together

#: What each client asks for: who drives a node decides what it gets.
ASKED = {"mic-0": 64, "mic-1": 1024, "mic-2": 1024}


def quantum(peer: Peer) -> int:
    """At which the source of a client's stream runs."""
    peer.socket.send(b'{"request":"status"}')
    status: dict[str, Any] = json.loads(peer.socket.recv(65536))["status"]
    return int(status["source"]["quantum"])


def test_one_clock_drives_what_is_read_together_and_nothing_else() -> None:
    with PrivatePipeWire() as rig:
        for name in ASKED:
            rig.create_source(name, own_clock=True)
        with Engine(rig, "--source", "null:") as engine:

            def wanted(name: str) -> dict[str, Any]:
                return {"source": name, "latency": f"{ASKED[name]}/48000"}

            peers = {name: Peer(engine.socket, **wanted(name)) for name in ASKED}
            rings = {name: peer.ring for name, peer in peers.items()}
            for name, peer in peers.items():
                assert peer.reply["reply"] == "opened", peer.reply
                rig.wait_for(lambda n=name: quantum(peers[n]) == ASKED[n], f"{name}'s own quantum")
            for name in ("mic-0", "mic-1"):
                peers[name].open(**wanted(name), together=True)
                ring, before = peers[name].ring, rings[name]
                assert ring and before and ring.id == before.id, "the same stream"
            rig.wait_for(lambda: quantum(peers["mic-1"]) == 64, "the quantum of the other")
            assert quantum(peers["mic-2"]) == 1024, "who reads one source only has its own clock"
            # Who is left alone has its own again.
            peers["mic-1"].open(**wanted("mic-1"))
            rig.wait_for(lambda: quantum(peers["mic-1"]) == 1024, "its own quantum again")


@pytest.mark.parametrize("quantum", [64, 256, 1024])
def test_the_same_impulse_stands_at_the_same_time_in_both(
    quantum: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PrivatePipeWire(quantum=quantum) as rig:
        for name in ("mic-0", "mic-1"):
            rig.create_source(name, own_clock=True)
        with Engine(rig, "--source", "null:") as engine, ExitStack() as streams:
            monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
            rig.play_impulses(7, "mic-0")
            ((output, _),) = [link for link in rig.links() if link[1].startswith("mic-0:")]
            inputs = [link[1] for link in rig.links() if link[0] == output]
            rig.link(output, inputs[0].replace("mic-0", "mic-1"))
            a, b = (
                streams.enter_context(AudioCapture(48_000, 4800, source=name).stream(timeout=20))
                for name in ("mic-0", "mic-1")
            )
            times: tuple[list[float], list[float]] = ([], [])
            for pair in together(a, b):
                for chunk, found in zip(pair, times, strict=True):
                    samples = np.abs(np.asarray(chunk))
                    found += [
                        chunk.time_ns + int(n) * 1e9 / 48_000 for n in np.flatnonzero(samples > 0.2)
                    ]
                if min(len(found) for found in times) >= 25:
                    break
        # What a busy machine lost in one of them has no partner there.
        apart = [min(abs(time - other) for other in times[1]) for time in times[0]]
        near = [ns for ns in apart if ns < 40e6]
        assert len(near) > len(apart) // 2
        assert float(np.median(near)) <= 1e9 / 48_000, sorted(near)
