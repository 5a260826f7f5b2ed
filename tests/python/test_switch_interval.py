"""`switch_interval` holds while a stream is open, and no longer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator

import pytest

from rig.playing import Recording
from v2m_engine import AudioCapture, DeviceError


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    assert sys.getswitchinterval() == pytest.approx(before)


@pytest.fixture
def capture(recording: Callable[..., Recording]) -> AudioCapture:
    source = recording(10).source
    return AudioCapture(buffer_size=512, engine="private", source=source)


def interval() -> float:
    return sys.getswitchinterval()


def test_lowered_while_open_and_restored(capture: AudioCapture) -> None:
    usual = interval()
    stream = capture.stream(switch_interval=0.0002)
    assert interval() == usual
    with stream:
        assert interval() == pytest.approx(0.0002)
    assert interval() == usual
    stream.close()
    assert interval() == usual


def test_left_alone_without_a_wish_or_where_it_is_lower(capture: AudioCapture) -> None:
    usual = interval()
    with capture.stream():
        assert interval() == usual
    sys.setswitchinterval(0.0001)
    try:
        with capture.stream(switch_interval=0.001):
            assert interval() == pytest.approx(0.0001)
        assert interval() == pytest.approx(0.0001)
    finally:
        sys.setswitchinterval(usual)


def test_the_lowest_of_several_counts_in_any_order_of_closing(capture: AudioCapture) -> None:
    usual = interval()
    wishes = (0.002, 0.0005, 0.001)
    streams = [capture.stream(switch_interval=wish) for wish in wishes]
    for stream in streams:
        stream.__enter__()
    assert interval() == pytest.approx(0.0005)
    streams[0].close()
    assert interval() == pytest.approx(0.0005)
    streams[1].close()
    assert interval() == pytest.approx(0.001)
    streams[2].close()
    assert interval() == usual


def test_what_the_program_sets_meanwhile_stays(capture: AudioCapture) -> None:
    usual = interval()
    try:
        with capture.stream(switch_interval=0.0002):
            sys.setswitchinterval(0.004)
        assert interval() == pytest.approx(0.004)
    finally:
        sys.setswitchinterval(usual)


def test_restored_when_the_stream_is_forgotten_and_after_errors(
    capture: AudioCapture, recording: Callable[..., Recording]
) -> None:
    stream = capture.stream(switch_interval=0.0002)
    stream.__enter__()
    assert interval() == pytest.approx(0.0002)
    del stream
    short = AudioCapture(buffer_size=4096, engine="private", source=recording(0.1).source)
    with pytest.raises(DeviceError), short.stream(switch_interval=0.0002):
        pass


def test_in_asyncio(capture: AudioCapture) -> None:
    async def run() -> None:
        async with capture.stream(hop=256, switch_interval=0.0003) as audio:
            assert interval() == pytest.approx(0.0003)
            await anext(audio)

    asyncio.run(run())
