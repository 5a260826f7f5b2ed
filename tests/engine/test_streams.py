"""Many sources and rates in one engine: each on demand, all at one time."""

from __future__ import annotations

import array
import json
import os
import random
import socket
import time
import wave
from pathlib import Path

import pytest

from rig import wait_until
from rig.hostile import LONG, memory, open_descriptors
from rig.independent_reader import GAPS, RATES, SAMPLES, TURNS, Ring
from rig.independent_reader import SPEECH as SPEECH_LANE
from rig.peer import Peer
from rig.speech import Talk
from rig.user import SPEECH, User

NOT_CAPTURED = 4


def noise(path: Path, rate: int, seconds: float, seed: int = 1) -> array.array[int]:
    """A file of noise at half of full scale, without a zero."""
    samples = array.array("h", random.Random(seed).choices(range(1, 16384), k=int(rate * seconds)))
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())
    return samples


def ended(ring: Ring) -> bool:
    return ring.state() == 3


@pytest.mark.parametrize("rate", RATES)
def test_the_sources_own_rate_comes_bit_for_bit(user: User, tmp_path: Path, rate: int) -> None:
    sent = noise(tmp_path / "noise.wav", rate, 1.5)
    user.start("--source", "null:")
    peer = Peer(user.socket, source=f"file:{tmp_path}/noise.wav", rate=rate)
    assert peer.reply["reply"] == "opened" and peer.reply["rate"] == rate
    ring = peer.ring
    assert ring is not None and (ring.rate, ring.window) == (rate, RATES[rate])
    wait_until(lambda: ended(ring), "the end of the file")
    assert list(ring.samples(0, ring.committed())) == [sample / 32768 for sample in sent]
    assert ring.committed(SPEECH_LANE) == ring.committed() // ring.window
    assert ring.records(GAPS) == []


def test_all_rates_of_a_source_have_one_time_and_one_speech_track(user: User) -> None:
    user.start("--source", "null:", "--no-pace")
    # Played once somebody listens: the first comes to look on, the others find it waiting.
    first = Peer(user.socket, source=f"file:{SPEECH}", observe=True)
    peers = {
        rate: Peer(user.socket, source=f"file:{SPEECH}", rate=rate, observe=True) for rate in RATES
    }
    last = Peer(user.socket, source=f"file:{SPEECH}")
    assert first.ring and last.ring and first.ring.id == last.ring.id
    main = first.ring
    wait_until(lambda: ended(main), "the end of the file")
    speech = main.speech(0, main.committed(SPEECH_LANE))
    assert max(speech) > 0.9
    for rate, peer in peers.items():
        ring = peer.ring
        assert ring is not None
        assert abs(ring.committed() / rate - main.committed() / 16000) < 0.001
        assert ring.speech(0, ring.committed(SPEECH_LANE)) == speech
        for window in range(len(speech)):
            times = ring.time_ns(window * ring.window), main.time_ns(window * 512)
            assert abs(times[0] - times[1]) < 1000, (rate, window, times)
    streams = user.status()["streams"]
    assert {stream["rate"] for stream in streams if stream["source"].startswith("file:")} == set(
        RATES
    )


def test_a_stream_that_joins_late_begins_with_the_window_that_is_current(user: User) -> None:
    user.start("--source", "null:")
    first = Peer(user.socket)
    main = first.ring
    assert main is not None
    wait_until(lambda: main.committed() > 16000, "a second of audio")
    before = main.committed()
    late = Peer(user.socket, rate=48000).ring
    assert late is not None
    wait_until(lambda: late.committed() > 3 * before + 48000, "a second more")
    gaps = late.records(GAPS)
    assert gaps[0].position == 0 and {gap.detail for gap in gaps} == {NOT_CAPTURED}
    begin = max(gap.position + gap.length for gap in gaps)
    assert before - 2 * 512 < begin / 3 < before + 16000
    # The same window, the same time; what was before it is silence, and tells its time, too.
    for window in range(main.committed() // 512 - 2):
        times = late.time_ns(window * 1536), main.time_ns(window * 512)
        assert abs(times[0] - times[1]) < 200_000, (window, times)
    assert late.counters()["gaps"] == main.counters()["gaps"] == 0
    wait_until(lambda: late.committed(SPEECH_LANE) * 1536 > late.committed() - 4800, "speech")


def test_a_stream_that_joins_in_mid_speech_is_told_where_it_began(
    user: User, tmp_path: Path
) -> None:
    talk = Talk(tmp_path / "talk.wav", lead=0.3, tail=0.9)
    user.start("--source", "null:")
    first = Peer(user.socket, source=talk.source)
    main = first.ring
    assert main is not None
    begun = wait_until(lambda: main.records(TURNS), "speech")
    second = Peer(user.socket, source=talk.source, rate=48000)
    late = second.ring
    assert late is not None and len(begun) == 1
    wait_until(lambda: len(main.records(TURNS)) >= 4, "more of it")
    wait_until(lambda: len(late.records(TURNS)) >= 4, "the same at 48 kHz")
    for told, known in zip(late.records(TURNS)[:4], main.records(TURNS)[:4], strict=True):
        assert told == known._replace(position=3 * known.position, length=3 * known.length)


def test_sources_come_with_the_first_client_and_go_after_the_last(
    user: User, tmp_path: Path
) -> None:
    noise(tmp_path / "noise.wav", 16000, 30)
    user.start("--source", "null:", "--linger", "1")
    source = f"file:{tmp_path}/noise.wav"
    friend = Peer(user.socket)
    peers = [Peer(user.socket, source=source, rate=rate) for rate in (16000, 48000, 48000)]
    known = {(stream["source"], stream["rate"]) for stream in user.status()["streams"]}
    assert known == {("null:", 16000), (source, 16000), (source, 48000)}
    readers = user.status()["readers"]
    assert [(reader["source"], reader["rate"]) for reader in readers] == [
        ("null:", 16000),
        (source, 16000),
        (source, 48000),
        (source, 48000),
    ]
    ring = peers[2].ring
    for peer in peers[1:]:
        peer.close()
    wait_until(lambda: len(user.status()["streams"]) == 2, "the end of 48 kHz")
    assert ring is not None and ring.state() == 4, "what is held says that nothing follows"
    peers[0].close()
    wait_until(lambda: len(user.status()["streams"]) == 1, "the end of the source")
    again = Peer(user.socket, source=source)
    assert again.ring and again.ring.id != ring.id
    assert friend.ring and friend.ring.counters()["gaps"] == 0


def test_a_source_that_cannot_be_had_is_an_error_of_that_stream_alone(
    user: User, tmp_path: Path
) -> None:
    user.start("--source", "null:", "--capture", "always")
    friend = Peer(user.socket)
    (tmp_path / "text.wav").write_text("no sound")
    for wanted, why in [
        ({"source": f"file:{tmp_path}/nothing.wav"}, "No such file"),
        ({"source": f"file:{tmp_path}/text.wav"}, "not an audio file"),
        ({"source": f"file:{tmp_path}"}, "is a directory"),
        ({"source": "file:/dev/zero"}, "is a device"),
        ({"source": "file:"}, "file:PATH"),
        ({"source": "alsa:nobody"}, "there is no ALSA PCM nobody"),
        ({"source": "alsa:hw:9"}, "there is no ALSA PCM hw:9"),
        # alsa-lib would write what it hears.
        ({"source": f"alsa:file:{tmp_path}/heard"}, "may write a file"),
        # Its own errors would end the process.
        ({"source": "alsa:" + "x" * 201}, "has 201 bytes"),
        ({"source": ""}, "empty"),
        ({"source": f"file:{SPEECH}", "channel": "AUX7"}, "MONO"),
        ({"channel": "no channel"}, "channel"),
        ({"rate": 44100}, "44100 Hz"),
        ({"rate": 0}, "0 Hz"),
        ({"rate": 2**32 - 1}, "4294967295 Hz"),
    ]:
        peer = Peer(user.socket, **wanted)
        assert peer.reply["reply"] == "refused" and why in peer.reply["message"], peer.reply
        # It may ask for another one.
        peer.open(rate=8000)
        assert peer.reply["reply"] == "opened"
        peer.close()
    assert not (tmp_path / "heard").exists()
    # What may yet come is waited for, and says so; there is no PipeWire here.
    awaited = ("mic", "app:player", "monitor:sink", "clean:mic")
    waiting = [Peer(user.socket, source=source) for source in awaited]
    assert [peer.reply["reply"] for peer in waiting] == ["opened"] * 4

    def why() -> dict[str, str | None]:
        return {stream["source"]: stream["waiting"] for stream in user.status()["streams"]}

    wait_until(lambda: all(why().get(source) for source in awaited), "the reasons")
    assert why()["null:"] is None and "PipeWire" in str(why()["app:player"])
    for peer in waiting:
        peer.close()
    ring = friend.ring
    assert ring is not None and ring.counters()["gaps"] == 0
    before = ring.committed()
    wait_until(lambda: ring.committed() > before + 3200, "audio goes on")
    assert user.status()["state"] == "running"


def test_who_asks_for_more_than_there_is_room_for_is_refused(user: User, tmp_path: Path) -> None:
    engine = user.start("--source", "null:", "--linger", "0", "--history", "4")
    friend = Peer(user.socket)
    open_before = len(os.listdir(f"/proc/{engine.pid}/fd"))
    noise(tmp_path / "0.wav", 16000, 0.1)
    for n in range(1, 70):
        (tmp_path / f"{n}.wav").symlink_to(tmp_path / "0.wav")
    greedy = Peer(user.socket)
    refused = 0
    peers = []
    for n in range(70):
        peer = Peer(user.socket, source=f"file:{tmp_path}/{n}.wav", observe=True)
        peers.append(peer)
        if peer.reply["reply"] == "refused":
            assert "64 sources" in peer.reply["message"]
            refused += 1
    assert refused == 7, "64, the service's own among them"
    for n in range(70):
        peer = Peer(
            user.socket, source=f"file:{tmp_path}/{n % 60}.wav", rate=[8000, 24000][n // 60]
        )
        peers.append(peer)
    refused = [peer.reply for peer in peers[70:] if peer.reply["reply"] == "refused"]
    assert len(refused) == 70 - 64 and "128 streams" in refused[0]["message"]
    # As many as a reply has room for.
    assert 20 <= len(user.status()["streams"]) <= 64
    # Names that nobody should print.
    evil = "\x1b]0;owned\x07\u202e\n" + "x" * 2000
    greedy.open(source=evil)
    assert greedy.reply["reply"] in ("opened", "refused")
    shown = json.dumps(greedy.reply, ensure_ascii=False) + user.command("status").stdout
    assert not any(char in shown for char in "\x1b\x07\u202e")
    for peer in [*peers, greedy]:
        peer.close()
    wait_until(lambda: len(user.status()["streams"]) == 1, "all gone")
    wait_until(
        lambda: len(os.listdir(f"/proc/{engine.pid}/fd")) <= open_before, "all descriptors closed"
    )
    assert friend.ring and friend.ring.counters()["gaps"] == 0


def test_another_connection_can_be_asked_for(user: User) -> None:
    user.start("--source", "null:")
    peer = Peer(user.socket)
    peer.socket.send(b'{"request":"connect"}')
    packet, (descriptor,), _, _ = socket.recv_fds(peer.socket, 65536, 4)
    assert json.loads(packet) == {"reply": "connected"}
    other = socket.socket(fileno=descriptor)
    other.setblocking(True)
    other.send(b'{"request":"open","version":2,"rate":8000}')
    packet, (ring,), _, _ = socket.recv_fds(other, 65536, 4)
    assert json.loads(packet)["rate"] == 8000 and Ring(ring).rate == 8000
    wait_until(lambda: user.status()["clients"] == 2, "both")
    other.close()
    wait_until(lambda: user.status()["clients"] == 1, "one")


def test_who_comes_and_goes_disturbs_nobody_and_leaves_nothing(user: User, tmp_path: Path) -> None:
    few = ("--log", "warn", "--linger", "0", "--history", "4")
    engine = user.start("--source", "null:", *few)
    friend = Peer(user.socket)
    ring = friend.ring
    assert ring is not None
    wait_until(lambda: ring.committed() > 4000, "audio")
    noise(tmp_path / "noise.wav", 16000, 5)
    rates = [rate for rate in RATES if rate != 16000]

    def come_and_go(times: int) -> None:
        """By turns for another rate, and for another source."""
        for n in range(times):
            source = {"source": f"file:{tmp_path}/noise.wav"} if n % 3 == 0 else {}
            peer = Peer(user.socket, rate=rates[n % 4], **source)
            assert peer.reply["reply"] == "opened", peer.reply
            if n % 5 == 0:
                time.sleep(0.02)
            peer.close()
        wait_until(lambda: len(user.status()["streams"]) == 1, "all gone")

    def left() -> tuple[int, int, int]:
        """Descriptors, maps and threads."""
        process = Path(f"/proc/{engine.pid}")
        maps = (process / "maps").read_text().count("memfd:")
        return open_descriptors(engine.pid), maps, len(os.listdir(process / "task"))

    come_and_go(40)
    before, bytes_before = left(), memory(engine.pid)
    come_and_go(1000 if LONG else 60)
    wait_until(lambda: left() <= before, "descriptors, maps and threads to return")
    # What the allocator keeps levels off at some 2 MiB; a leak of 2 KiB each would show.
    assert memory(engine.pid) < bytes_before + ((5 << 19) if LONG else (1 << 20))
    # The clock of `null:` doesn't wait for a busy machine: what it lost it says.
    assert ring.counters()["repeated"] == 0
    gaps = sum(gap.length for gap in ring.records(GAPS))
    assert gaps == ring.counters()["lost_samples"] == 0
    assert ring.committed(SAMPLES) > 0
