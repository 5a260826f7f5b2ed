"""What happens to a stream besides its audio."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rig import independent_reader
from rig.playing import Recording, Service
from rig.speech import Talk
from v2m_engine import AudioCapture, Event, V2MError

SHORT = (("en", "Hello there, my friend."), ("en-us", "Good morning."))


def private(source: str, **options: Any) -> AudioCapture:
    return AudioCapture(engine="private", source=source, **options)


def speech(events: list[Event]) -> list[Event]:
    return [event for event in events if event.kind.startswith("speech")]


def check(events: list[Event], talk: Talk) -> None:
    """Each utterance begins and ends where it should."""
    assert [e.kind for e in events] == ["speech-start", "speech-end"] * len(talk.spoken)
    for number, (begin, end) in enumerate(talk.spoken):
        start, over = events[2 * number : 2 * number + 2]
        assert abs(start.position - begin) < 3200 and abs(over.position - end) < 8000
        assert over.length == over.position - start.position and start.length == 0
        assert over.time_ns - start.time_ns == over.length * 62500
        assert start.detail is None


def test_speech_begins_and_ends(tmp_path: Path) -> None:
    """Told before the utterance is a segment, to each who asks."""
    talk = Talk(tmp_path / "talk.wav", texts=SHORT, lead=0.3, tail=0.9)
    with private(talk.source).stream() as audio:
        events = audio.events()
        first = next(event for event in events if event.kind == "speech-start")
        segments = audio.segments()
        segment = next(segments)
        assert segment.position <= first.position < segment.end
        rest = list(events)
        again = list(audio.events())
    check(speech([first, *rest]), talk)
    states = [event.detail for event in rest if event.kind == "state"]
    assert states[-1] == "ended"
    # After something was taken it begins with the newest window.
    assert len(again) < len(rest)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_speech_that_goes_on_is_told_first(
    tmp_path: Path, service: Callable[..., Service], rate: int
) -> None:
    """To who comes to a stream that is there, and with one at a rate of its own."""
    talk = Talk(tmp_path / "talk.wav", lead=0.3, tail=0.9)
    service("--source", "null:")
    with AudioCapture(source=talk.source).stream() as first:
        begun = next(event for event in first.events() if event.kind == "speech-start")
        next(chunk for chunk in first if chunk.position > begun.position + 16000)
        with AudioCapture(rate, source=talk.source).stream() as late:
            told = next(event for event in late.events() if event.kind.startswith("speech"))
            assert told.kind == "speech-start" and told.time_ns == begun.time_ns
            assert told.position * 16000 == begun.position * rate


def test_speech_on_a_loop(tmp_path: Path, waiting: str) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=SHORT, lead=0.3, tail=0.9)

    async def main() -> None:
        async with private(talk.source).stream() as audio:

            async def take() -> list[Event]:
                return [event async for event in audio.events()]

            one, two = await asyncio.wait_for(asyncio.gather(take(), take()), 60)
        assert one == two
        check(speech(one), talk)

    asyncio.run(main())


def test_speech_is_known_as_soon_as_it_is_decided(
    tmp_path: Path, service: Callable[..., Service]
) -> None:
    """Before a window more of audio: the engine is stopped as soon as its decision stands in the
    ring. Where the machine lets a window pass before that, or stops the engine before it wakes
    anybody, the next utterance tells."""
    talk = Talk(tmp_path / "talk.wav", lead=0.5)
    engine = service("--source", talk.source)
    peer, descriptor, _ = independent_reader.connect(os.environ["V2M_ENGINE_SOCKET"])
    ring = independent_reader.Ring(descriptor)
    told: queue.Queue[Event] = queue.Queue()
    with AudioCapture(buffer_size=512).stream() as audio:

        def listen() -> None:
            for event in audio.events():
                if event.kind == "speech-start":
                    told.put(event)

        threading.Thread(target=listen, daemon=True).start()
        for number, _ in enumerate(talk.spoken):
            turns = 2 * number
            while ring.committed(independent_reader.TURNS) <= turns and ring.state() != 3:
                time.sleep(0.0005)
            decided = ring.committed()
            os.kill(engine.pid, signal.SIGSTOP)
            try:
                while (event := told.get(timeout=2)).position < talk.spoken[number][0] - 3200:
                    pass  # of an utterance before
                if ring.committed() <= decided + 512:
                    break
            except queue.Empty:
                pass
            finally:
                os.kill(engine.pid, signal.SIGCONT)
        else:
            pytest.fail("it was told after a window more of audio, each time")
        assert abs(event.position - talk.spoken[number][0]) < 3200
    peer.close()


def test_an_engine_that_is_lost(recording: Callable[..., Recording]) -> None:
    with private(recording(20).source, buffer_size=160).stream() as audio:
        events = audio.events()
        pid = audio.private_engine_pid
        assert pid is not None
        found: list[Event] = []
        while not found or found[-1].detail != "running":
            found.append(next(events))
        os.kill(pid, signal.SIGKILL)
        lost = next(events)
        assert (lost.kind, lost.detail) == ("state", "lost")
        again = next(event for event in events if event.kind == "state")
        assert again.position < lost.position
        assert audio.private_engine_pid not in (pid, None)


def test_closing_ends_it(recording: Callable[..., Recording]) -> None:
    with private(recording(60).source).stream(timeout=None) as audio:
        events = audio.events()
        thread = threading.Thread(target=lambda: found.extend(events))
        found: list[Event] = []
        thread.start()
        time.sleep(0.1)
        audio.close()
        thread.join(5)
        assert not thread.is_alive()
        assert next(events, None) is None
        with pytest.raises(V2MError, match="closed"):
            audio.events()
    with pytest.raises(V2MError, match="not open"):
        AudioCapture().stream().events()


def test_an_event_is_plain_data() -> None:
    event = Event("gap", 5, 7, length=9, detail="xrun")
    match event:
        case Event(kind="gap", length=length):
            assert length == 9
        case _:
            pytest.fail("no match")
    assert event == Event("gap", 5, 7, 9, "xrun") and hash(event)
