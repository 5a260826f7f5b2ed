"""sounddevice's shape: samples, blocks, times and flags on recordings that are known sample by
sample."""

from __future__ import annotations

import ast
import inspect
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rig import ROOT, PrivatePipeWire, wait_until
from rig.playing import Recording, Service, begin_of
from rig.service import Engine
from v2m_engine.compat import sounddevice as sd

RATE = 16000


@pytest.mark.parametrize("block", [0, 100, 512, 1600, 16001 // 2, 7919])
def test_callbacks_get_each_sample_once(recording: Recording, block: int) -> None:
    blocks: list[Any] = []
    times: list[Any] = []
    over = threading.Event()

    def callback(indata: Any, frames: int, when: Any, status: sd.CallbackFlags) -> None:
        assert indata.shape == (frames, 1) and indata.dtype == np.float32
        assert indata.flags.writeable and not status, status
        blocks.append(indata)
        times.append(SimpleNamespace(adc=when.inputBufferAdcTime, now=when.currentTime))
        if sum(map(len, blocks)) > RATE:
            raise sd.CallbackStop

    with sd.InputStream(
        RATE, block, recording.source, 1, callback=callback, finished_callback=over.set
    ) as stream:
        assert stream.samplerate == RATE and stream.channels == 1 and stream.blocksize == block
        assert over.wait(20)
        assert not stream.active and not stream.stopped
    assert stream.stopped and stream.closed and not stream.active
    assert {len(each) for each in blocks} == {block or RATE // 100}
    begin_of(recording.samples, np.concatenate(blocks))
    # The first sample's capture, on time.monotonic()'s clock: a block apart, and in the past.
    steps = np.diff([each.adc for each in times])
    assert np.allclose(steps, len(blocks[0]) / RATE, atol=0.002)
    assert all(each.adc < each.now < time.monotonic() for each in times)


@pytest.mark.parametrize("size", [1, 160, 1000, 4097])
def test_reading_gives_each_sample_once(recording: Recording, size: int) -> None:
    pieces = []
    with sd.InputStream(RATE, 0, recording.source, 1, "int16") as stream:
        for _ in range(max(3, 8000 // size)):
            piece, overflowed = stream.read(size)
            assert piece.shape == (size, 1) and piece.dtype == np.int16 and not overflowed
            pieces.append(piece)
        time.sleep(0.3)
        waiting = stream.read_available
        assert waiting >= RATE // 5
        pieces.append(stream.read(waiting)[0])
    begin_of(recording.int16, np.concatenate(pieces))
    with pytest.raises(sd.PortAudioError, match=r"stopped.*-9983"):
        stream.read(1)


def test_a_recording_begins_when_it_is_begun(recording: Recording) -> None:
    """Not before, where the engine captures already."""
    service = Service("--source", recording.source, "--capture", "always")
    try:
        time.sleep(1)
        begun = time.monotonic()
        first: list[float] = []

        def callback(indata: Any, frames: int, when: Any, status: Any) -> None:
            first.append(when.inputBufferAdcTime)
            raise sd.CallbackStop

        with sd.InputStream(RATE, 8000, channels=1, device=recording.source, callback=callback):
            time.sleep(1.2)
        assert first and begun <= first[0] < begun + 0.5
    finally:
        service.kill()


def test_rec(recording: Recording) -> None:
    whole = sd.rec(RATE, RATE, channels=1, dtype="int16", device=recording.source, blocking=True)
    assert whole.shape == (RATE, 1)
    begin_of(recording.int16, whole)
    assert not sd.get_status() and sd.get_stream().closed

    out = np.zeros((4000, 1))
    assert sd.rec(out=out, samplerate=RATE, device=recording.source) is out
    assert sd.wait() is None
    begin_of(recording.samples.astype(np.float64), out)

    stopped = sd.rec(10 * RATE, RATE, 1, device=recording.source, out=np.zeros((10 * RATE, 1)))
    time.sleep(0.3)
    sd.stop()
    assert stopped[0] and not stopped[-1]
    with pytest.raises(TypeError, match="frames"):
        sd.rec(samplerate=RATE)
    with pytest.raises(TypeError, match="channels"):
        sd.rec(100, RATE, device=recording.source)


def test_what_was_lost_is_flagged(recording: Recording) -> None:
    """By a callback that is later than the engine remembers; and the next blocks are whole."""
    service = Service("--source", recording.source, "--history", "4")
    seen: list[tuple[Any, bool]] = []
    try:

        def callback(indata: Any, frames: int, when: Any, status: sd.CallbackFlags) -> None:
            seen.append((indata, status.input_overflow))
            if len(seen) == 5:
                time.sleep(5)

        with sd.InputStream(RATE, 800, recording.source, 1, callback=callback):
            time.sleep(6.5)
    finally:
        service.kill()
    flags = [flag for _, flag in seen]
    assert sum(flags) == 1 and 5 <= flags.index(True) < 40
    lost = flags.index(True)
    begin_of(recording.samples, np.concatenate([each for each, _ in seen[:lost]]))
    begin_of(recording.samples, np.concatenate([each for each, _ in seen[lost:]]))


def test_what_the_sound_server_lost_is_flagged(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence stands in for it, so that times stay true."""
    seen: list[tuple[int, float, bool]] = []

    def callback(indata: Any, frames: int, when: Any, status: sd.CallbackFlags) -> None:
        seen.append((frames, when.inputBufferAdcTime, status.input_overflow))

    monkeypatch.delenv("V2M_ENGINE_SOCKET")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(rig.directory))
    with Engine(rig) as engine, sd.InputStream(RATE, 160, channels=1, callback=callback):
        wait_until(lambda: len(seen) > 50, "audio")
        engine.process.send_signal(signal.SIGSTOP)
        time.sleep(0.4)
        engine.process.send_signal(signal.SIGCONT)
        wait_until(lambda: any(flag for *_, flag in seen), "a flag")
        time.sleep(0.5)
    adc = np.array([when for _, when, _ in seen])
    flagged = [index for index, (*_, flag) in enumerate(seen) if flag]
    assert 0 < len(flagged) < len(seen) / 2
    # All that was lost is there as silence: a block after the other, 10 ms each.
    assert np.all(np.diff(adc) > 0)
    assert abs((adc[-1] - adc[0]) - (len(adc) - 1) * 0.01) < 0.1


def test_a_callback_that_fails_is_printed_and_ends_it(
    recording: Recording, capfd: pytest.CaptureFixture[str]
) -> None:
    def callback(*_: Any) -> None:
        raise RuntimeError("in the callback")

    over = threading.Event()
    with sd.InputStream(
        RATE, channels=1, device=recording.source, callback=callback, finished_callback=over.set
    ):
        assert over.wait(20)
    assert "in the callback" in capfd.readouterr().err


def test_a_callback_may_stop_its_stream(recording: Recording) -> None:
    over = threading.Event()

    def callback(*_: Any) -> None:
        stream.stop()
        over.set()

    stream = sd.InputStream(RATE, channels=1, device=recording.source, callback=callback)
    stream.start()
    assert over.wait(20)
    stream.close()


def test_a_source_that_ends(recording: Recording) -> None:
    stream = sd.InputStream(RATE, device=recording.source, channels=1)
    with stream, pytest.raises(sd.PortAudioError, match="ended"):
        stream.read(9 * RATE)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"channels": 0}, -9998),
        ({"channels": 33}, -9998),
        ({"samplerate": 3000}, -9997),
        ({"samplerate": 44100.5}, -9997),
        ({"extra_settings": object()}, -9984),
    ],
)
def test_what_no_stream_can_have(
    recording: Recording, arguments: dict[str, Any], code: int
) -> None:
    good: dict[str, Any] = {"samplerate": RATE, "device": recording.source, "channels": 1}
    for check in (sd.InputStream, sd.RawInputStream, sd.check_input_settings):
        with pytest.raises(sd.PortAudioError) as raised:
            check(**good | arguments)
        assert raised.value.args[1] == code
    with pytest.raises(ValueError, match="sample format"):
        sd.InputStream(**good, dtype="float16")


def test_output_says_that_there_is_none() -> None:
    for call in (sd.play, sd.playrec, sd.OutputStream, sd.Stream, sd.RawStream):
        with pytest.raises(sd.PortAudioError, match="doesn't play"):
            call(np.zeros(10))


def test_defaults_and_flags() -> None:
    sd.default.samplerate = 16000
    sd.default.channels = 1, 2
    sd.default.device = "file:/nowhere.wav"
    assert sd.default.channels[0] == 1 and sd.default.channels["output"] == 2
    assert sd.default.dtype["input"] == "float32"
    with pytest.raises(AttributeError):
        sd.default.nothing = 1
    stream = sd.InputStream()
    with pytest.raises(sd.PortAudioError, match=r"nowhere"):
        stream.start()
    sd.default.reset()
    assert sd.default.samplerate is None

    flags = sd.CallbackFlags()
    assert not flags and str(flags) == "" and "no flags" in repr(flags)
    flags.input_overflow = True
    flags |= sd.CallbackFlags(1)
    assert str(flags) == "input overflow, input underflow" or str(flags) == "input_underflow"
    assert flags.input_underflow


def test_devices(only_device: Recording) -> None:
    assert str(sd.query_devices()) == "> 0 Noise, v2m-engine (1 in, 0 out)"
    info = sd.query_devices(kind="input")
    assert info == sd.query_devices(0) == sd.query_devices("noi")
    assert info["default_samplerate"] == RATE and info["max_output_channels"] == 0
    assert sd.query_hostapis()[0]["default_input_device"] == 0
    assert list(sd.default.device) == [0, -1]
    with pytest.raises(ValueError, match="No input device"):
        sd.query_devices("hum")
    with pytest.raises(sd.PortAudioError, match="-9996"):
        sd.query_devices(7)


def test_the_surface_is_sounddevices() -> None:
    """All its names, and its arguments in their order."""
    theirs = ast.parse((ROOT / "target/sounddevice-0.5.6/src/sounddevice.py").read_text())

    def parts(node: ast.Module | ast.ClassDef, kind: type[ast.stmt]) -> dict[str, Any]:
        found = (each for each in node.body if isinstance(each, kind))
        return {each.name: each for each in found if not each.name.startswith("_")}  # type: ignore[attr-defined]

    def arguments(function: Any) -> list[str]:
        return [argument.arg for argument in function.args.args]

    functions = parts(theirs, ast.FunctionDef)
    assert not {*functions} - {*dir(sd)}
    for name in ("check_input_settings", "query_devices", "query_hostapis", "rec", "stop", "wait"):
        ours = list(inspect.signature(getattr(sd, name)).parameters)
        assert ours[: len(arguments(functions[name]))] == arguments(functions[name]), name
    classes = {each.name: each for each in theirs.body if isinstance(each, ast.ClassDef)}
    for name in ("_StreamBase", "_InputStreamBase", "InputStream", "CallbackFlags", "default"):
        mine = {"CallbackFlags": sd.CallbackFlags, "default": sd.default}.get(name, sd.InputStream)
        assert not {*parts(classes[name], ast.FunctionDef)} - {*dir(mine)}
    begin = next(each for each in classes["InputStream"].body if isinstance(each, ast.FunctionDef))
    assert arguments(begin) == list(inspect.signature(sd.InputStream.__init__).parameters)


def test_more_channels_are_the_same_one(recording: Recording) -> None:
    both = sd.rec(4000, RATE, channels=2, dtype="int16", device=recording.source, blocking=True)
    assert np.array_equal(both[:, 0], both[:, 1])
    begin_of(recording.int16, both[:, 1])
    second = sd.rec(4000, RATE, mapping=[2], device=recording.source, blocking=True)
    begin_of(recording.samples, second)
    with sd.RawInputStream(RATE, device=recording.source, channels=3, dtype="int24") as stream:
        data, _ = stream.read(100)
    assert len(data) == 100 * 3 * 3
    assert all(data[at : at + 3] == data[at + 3 : at + 6] for at in range(0, 900, 9))


def test_raw_streams_need_no_numpy(recording: Recording) -> None:
    program = (
        "import sys; sys.modules['numpy'] = None\n"
        "import v2m_engine.compat.sounddevice as sd\n"
        f"known = dict(device={recording.source!r}, channels=1, dtype='int16')\n"
        "with sd.RawInputStream(16000, **known) as s:\n"
        "    data, overflowed = s.read(1000)\n"
        "print(len(data), overflowed)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "2000 False\n", done.stderr
