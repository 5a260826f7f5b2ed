"""Sources that are read together are driven by one clock; those that are not, are not."""

from __future__ import annotations

import json
from typing import Any

from rig import PrivatePipeWire
from rig.peer import Peer
from rig.service import Engine

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
