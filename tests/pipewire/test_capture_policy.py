"""The microphone is captured while somebody listens, and not otherwise."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from rig import BINARY, PrivatePipeWire
from rig.service import Engine
from v2m_engine import AudioCapture, AudioStream

LINK = ("rig-mic:capture_MONO", "v2m-engine:input")


@contextmanager
def listening(engine: Engine) -> Iterator[socket.socket]:
    """A client as the engine sees it: a connection that holds the ring."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(20)
        peer.connect(engine.socket)
        peer.send(b'{"request":"open","version":2}')
        reply, descriptors, _, _ = socket.recv_fds(peer, 65536, 1)
        assert b"opened" in reply and len(descriptors) == 1
        yield peer


def status(engine: Engine) -> dict[str, Any]:
    done = subprocess.run(
        [BINARY, "status", "--json"],
        env=engine.rig.env,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def is_idle(engine: Engine) -> bool:
    return bool(status(engine)["state"] == "idle") and not links(engine)


def links(engine: Engine) -> set[tuple[str, str]]:
    return {link for link in engine.rig.links() if link[1].startswith("v2m-engine")}


def while_used(rig: PrivatePipeWire, linger: int) -> Engine:
    return Engine(rig, "--capture", "while-used", "--linger", str(linger))


def has_node(rig: PrivatePipeWire) -> bool:
    nodes = (item["info"]["props"] for item in rig.dump() if item["type"].endswith(":Node"))
    return any(properties.get("node.name") == "v2m-engine" for properties in nodes)


def test_there_is_no_node_until_somebody_listens(rig: PrivatePipeWire) -> None:
    with while_used(rig, 0) as engine:
        assert is_idle(engine) and not has_node(rig)
        before = status(engine)
        assert "nobody listens" in before["source"]["waiting"]
        for _ in range(2):
            with listening(engine):
                rig.wait_for(lambda: status(engine)["state"] == "running", "audio")
                assert status(engine)["source"]["linked"] == "rig-mic"
                assert has_node(rig)
                first = status(engine)["ring"]["position"]
                rig.wait_for(lambda: status(engine)["ring"]["position"] > first, "progress")  # noqa: B023
            rig.wait_for(lambda: is_idle(engine) and not has_node(rig), "the node to go")
            # Nothing moves, and what is there keeps its time.
            resting = status(engine)["ring"]
            assert resting["time_ns"] is not None
            assert status(engine)["ring"] == resting
        # Silence because nobody listened is no loss.
        losses = status(engine)["losses"]
        assert losses["lost_samples"] == losses["gaps"] == 0, losses


def test_it_lingers(rig: PrivatePipeWire) -> None:
    with while_used(rig, 86400) as engine:
        assert is_idle(engine)
        with listening(engine):
            rig.wait_for(lambda: status(engine)["state"] == "running", "audio")
        rig.wait_for(lambda: status(engine)["clients"] == 0, "the client to be gone")
        first = status(engine)["ring"]["position"]
        rig.wait_for(lambda: status(engine)["ring"]["position"] > first + 8000, "capture to go on")
        assert links(engine)


def test_links_made_by_hand_stay(rig: PrivatePipeWire) -> None:
    with while_used(rig, 0) as engine:
        mine = ("rig-mic-stereo:capture_FL", "v2m-engine:input")
        with listening(engine):
            rig.wait_for_node("v2m-engine")
            rig.link(*mine)
            rig.wait_for(lambda: links(engine) == {LINK, mine}, "both links")
        rig.wait_for(lambda: links(engine) == {mine}, "the engine's own link to go")
        assert status(engine)["state"] == "idle"
        rig.unlink(*mine)
        rig.wait_for(lambda: not has_node(rig), "the node to go")


def test_positions_keep_their_time_across_rest(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(rig.directory))
    rig.play_impulses(3)
    with while_used(rig, 0) as engine:
        capture = AudioCapture(buffer_size=1600, engine="service")

        def heard(audio: AudioStream, count: int) -> list[tuple[int, int]]:
            chunks = [next(audio) for _ in range(count)]
            assert any(np.abs(np.asarray(chunk)).max() > 0.1 for chunk in chunks)
            return [(chunk.position, chunk.time_ns) for chunk in chunks]

        with capture.stream() as audio:
            before = heard(audio, 5)
        rig.wait_for(lambda: is_idle(engine), "the node to rest")
        with capture.stream() as audio:
            # The first buffer is audio, not the silence in between.
            after = heard(audio, 5)
        positions = after[0][0] - before[-1][0]
        nanoseconds = after[0][1] - before[-1][1]
        # Within the graph's own cycle: position and time tell the same.
        assert abs(positions * 62_500 - nanoseconds) < 20_000_000
        assert positions >= 1600


def test_a_microphone_that_is_missing_is_a_loss_again(rig: PrivatePipeWire) -> None:
    with while_used(rig, 0) as engine:
        with listening(engine):
            rig.wait_for(lambda: status(engine)["ring"]["position"] > 16000, "audio")
        rig.wait_for(lambda: is_idle(engine), "the node to rest")
        for name in ("rig-mic", "rig-mic-stereo"):
            rig.destroy_node(name)
        # A busy machine's graph may have lost cycles of its own by now.
        before = status(engine)["losses"]

        def lost() -> dict[str, int]:
            now = status(engine)["losses"]
            return {key: now[key] - before[key] for key in now}

        with listening(engine):
            rig.wait_for(lambda: status(engine)["state"] == "waiting", "the reason")
            rig.wait_for(lambda: lost()["lost_samples"] > 8000, "the loss")
            assert lost()["gaps"] == 1
