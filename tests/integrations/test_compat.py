"""The modules shaped like sounddevice, pyaudio and soundcard: samples, blocks, times and flags on
recordings that are known sample by sample."""

from __future__ import annotations

import ast
import inspect
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rig import BINARY, ROOT, PrivatePipeWire, wait_until
from rig.playing import Recording, Service, write_wav
from rig.service import Engine
from v2m_engine import compat
from v2m_engine.compat import pyaudio, soundcard
from v2m_engine.compat import sounddevice as sd
from v2m_engine.compat._input import SAMPLE_SIZES, converted

RATE = 16000


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("V2M_ENGINE_BIN", str(BINARY))
    monkeypatch.setenv("V2M_ENGINE_SOCKET", str(runtime / "engine.sock"))
    yield
    sd.default.reset()


@pytest.fixture
def rig() -> Iterator[PrivatePipeWire]:
    with PrivatePipeWire(quantum=256) as private:
        yield private


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "noise.wav", 8)


def int16(recording: Recording) -> Any:
    return (recording.samples * 32768).astype(np.int16)


def begin_of(known: Any, piece: Any) -> int:
    """Where this piece stands in what is known, which has no window twice."""
    piece = np.asarray(piece).ravel()
    for at in np.flatnonzero(known[: len(known) - len(piece) + 1] == piece[0]):
        if np.array_equal(known[at : at + len(piece)], piece):
            return int(at)
    raise AssertionError("it isn't in there")


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
    begin_of(int16(recording), np.concatenate(pieces))
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
    begin_of(int16(recording), whole)
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


@pytest.mark.parametrize("name", sorted(SAMPLE_SIZES))
def test_formats(name: str) -> None:
    rng = np.random.default_rng(7)
    edges = np.array([0, 1, -1, 1.5, -1.5, 1 - 2**-24, 2**-31], np.float32)
    samples = np.concatenate([edges, rng.uniform(-1.1, 1.1, 4000).astype(np.float32)])
    if name == "float32":
        assert converted(samples.tobytes(), name) == samples.tobytes()
        return
    bits = 8 * SAMPLE_SIZES[name]
    wanted = np.clip(
        np.rint(samples.astype(np.float64) * 2.0 ** (bits - 1)),
        -(2 ** (bits - 1)),
        2 ** (bits - 1) - 1,
    ).astype(np.int64)
    data = converted(samples.tobytes(), name)
    assert len(data) == len(samples) * bits // 8
    if name == "int24":
        got: Any = [
            int.from_bytes(data[i : i + 3], "little", signed=True) for i in range(0, len(data), 3)
        ]
    else:
        got = np.frombuffer(data, name).astype(np.int64) - (128 if name == "uint8" else 0)
    assert np.array_equal(got, wanted)


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


def test_pyaudio_reads(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, recording)
    audio = pyaudio.PyAudio()
    stream = audio.open(RATE, 1, pyaudio.paInt16, input=True, input_device_index=0)
    assert stream.is_active() and not stream.is_stopped()
    pieces = [stream.read(size) for size in (1024, 1, 333, 5000)]
    assert [len(piece) for piece in pieces] == [2048, 2, 666, 10000]
    begin_of(int16(recording), np.frombuffer(b"".join(pieces), np.int16))
    time.sleep(0.2)
    assert stream.get_read_available() > 1000
    stream.stop_stream()
    assert stream.is_stopped()
    with pytest.raises(OSError, match="stopped") as raised:
        stream.read(1)
    assert raised.value.errno == pyaudio.paStreamIsStopped
    with pytest.raises(OSError):
        stream.write(b"")
    stream.start_stream()
    assert stream.read(10)
    audio.terminate()
    with pytest.raises(OSError, match="closed"):
        stream.is_active()


def test_pyaudio_calls_back(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, recording)
    got: list[Any] = []

    def callback(data: Any, frames: int, times: Any, flags: int) -> tuple[None, int]:
        got.append((data, frames, times, flags))
        return None, pyaudio.paContinue if len(got) < 10 else pyaudio.paComplete

    audio = pyaudio.PyAudio()
    stream = audio.open(
        rate=RATE,
        channels=1,
        format=pyaudio.paFloat32,
        input=True,
        input_device_index=0,
        frames_per_buffer=512,
        stream_callback=callback,
    )
    deadline = time.monotonic() + 20
    while stream.is_active():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(got) == 10
    begin_of(recording.samples, np.frombuffer(b"".join(data for data, *_ in got), np.float32))
    for _, frames, times, flags in got:
        assert frames == 512 and flags == 0
        assert times["input_buffer_adc_time"] < times["current_time"]
    stream.close()
    audio.terminate()


def listed(monkeypatch: pytest.MonkeyPatch, recording: Recording) -> None:
    """The one device there is."""
    from v2m_engine import Source
    from v2m_engine.compat import _input

    only = Source(recording.source, "Noise", "source", True, False, 1, RATE)
    monkeypatch.setattr(_input, "sources", lambda: [only])


def test_pyaudio_devices(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, recording)
    audio = pyaudio.PyAudio()
    assert audio.get_device_count() == 1
    info = audio.get_default_input_device_info()
    assert info == audio.get_device_info_by_index(0)
    assert info["name"] == "Noise" and info["maxInputChannels"] == 1
    assert info["defaultSampleRate"] == RATE
    assert audio.get_default_host_api_info()["defaultInputDevice"] == 0
    with pytest.raises(OSError, match="Invalid device"):
        audio.get_device_info_by_index(3)
    with pytest.raises(OSError):
        audio.get_default_output_device_info()
    assert audio.is_format_supported(RATE, 0, 1, pyaudio.paInt16)
    with pytest.raises(ValueError) as raised:
        audio.is_format_supported(1000, 0, 1, pyaudio.paInt16)
    assert raised.value.args[1] == pyaudio.paInvalidSampleRate
    assert audio.get_format_from_width(2) == pyaudio.paInt16
    assert pyaudio.get_sample_size(pyaudio.paInt24) == 3


def test_sounddevice_devices(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, recording)
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


def test_soundcard(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, recording)
    assert [each.name for each in soundcard.all_microphones()] == ["Noise"]
    assert soundcard.get_microphone("ois").id == recording.source
    assert soundcard.get_microphone("Nse").id == recording.source
    with pytest.raises(IndexError):
        soundcard.get_microphone("hum")
    microphone = soundcard.default_microphone()
    assert repr(microphone) == "<Microphone Noise (1 channels)>" and not microphone.isloopback
    microphone = soundcard.get_microphone(recording.source)
    pieces = []
    with microphone.recorder(samplerate=RATE, channels=1, blocksize=256) as recorder:
        for size in (1024, 10, 3000):
            pieces.append(recorder.record(size))
            assert pieces[-1].shape == (size, 1) and pieces[-1].dtype == np.float32
        pieces.append(recorder.record())
        assert len(pieces[-1])
        pieces.append(recorder.flush())
    begin_of(recording.samples, np.concatenate(pieces))
    assert microphone.record(100, RATE).shape == (100, 1)
    assert microphone.record(100, RATE, channels=[0, 1]).shape == (100, 2)
    with pytest.raises(TypeError, match="channels"):
        microphone.recorder(RATE, channels=[])
    with pytest.raises(ValueError, match="8000, 16000"):
        microphone.recorder(500)
    with pytest.raises(RuntimeError, match="doesn't play"):
        soundcard.default_speaker()


def test_installing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in compat.MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    compat.install()
    assert sys.modules["pyaudio"] is pyaudio
    compat.install("pyaudio")
    with pytest.raises(ValueError, match="look-alike"):
        compat.install("numpy")
    monkeypatch.setitem(sys.modules, "sounddevice", compat)
    with pytest.raises(RuntimeError, match="imported already"):
        compat.install("sounddevice")


def test_running_a_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, pyaudio, soundcard, sounddevice\n"
        "print(__name__, sys.argv[1:], sys.path[0], pyaudio.__name__)\n"
    )
    run: Callable[..., Any] = subprocess.run
    done = run(
        [sys.executable, "-m", "v2m_engine.compat", program, "-m", "x"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == (f"__main__ ['-m', 'x'] {tmp_path} v2m_engine.compat.pyaudio\n"), (
        done.stderr
    )
    done = run(
        [sys.executable, "-m", "v2m_engine.compat"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "usage" in done.stderr


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


@pytest.mark.parametrize(
    "opened",
    [
        "stream = sd.InputStream({rate}, device={source!r}, channels=1, callback=lambda *_: None)\n"
        "stream.start()",
        "sd.rec(100 * {rate}, {rate}, 1, device={source!r})",
        "stream = sd.InputStream({rate}, device={source!r}, channels=1)\n"
        "stream.start()\n"
        "threading.Thread(target=stream.read, args=[100 * {rate}], daemon=True).start()",
    ],
    ids=["callback", "rec", "read"],
)
def test_a_program_that_just_ends(recording: Recording, opened: str) -> None:
    """Its threads wait for audio then; nothing hangs, crashes or stays behind."""
    program = (
        "import threading, time\n"
        "import v2m_engine.compat.sounddevice as sd\n"
        f"{opened.format(rate=RATE, source=recording.source)}\n"
        "time.sleep(0.3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize(
    "wait", ["stream.read(100 * 16000)", "sd.rec(1600000, 16000, 1, **known); sd.wait()"]
)
def test_ctrl_c_interrupts(recording: Recording, wait: str) -> None:
    program = (
        "import v2m_engine.compat.sounddevice as sd\n"
        f"known = dict(device={recording.source!r})\n"
        "with sd.InputStream(16000, channels=1, **known) as stream:\n"
        "    print('open', flush=True)\n"
        f"    {wait}\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None and running.stdout.readline() == "open\n"
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=10)
    assert errors.splitlines()[-1] == "KeyboardInterrupt"


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
    begin_of(int16(recording), both[:, 1])
    second = sd.rec(4000, RATE, mapping=[2], device=recording.source, blocking=True)
    begin_of(recording.samples, second)
    with sd.RawInputStream(RATE, device=recording.source, channels=3, dtype="int24") as stream:
        data, _ = stream.read(100)
    assert len(data) == 100 * 3 * 3
    assert all(data[at : at + 3] == data[at + 3 : at + 6] for at in range(0, 900, 9))


@pytest.mark.parametrize("rate", [44100, 22050, 11025, 96000])
@pytest.mark.parametrize("block", [0, 1000])
def test_other_rates_by_soxr(tmp_path: Path, rate: int, block: int) -> None:
    """A tone comes as it is, and its times are those of capture."""
    tone = np.sin(2 * np.pi * 440 * np.arange(8 * 16000) / 16000)
    path = tmp_path / "tone.wav"
    write_wav(path, np.rint(tone * 16000).astype(np.int16))
    blocks: list[Any] = []
    times: list[float] = []
    over = threading.Event()

    def callback(indata: Any, frames: int, when: Any, status: sd.CallbackFlags) -> None:
        assert not status
        blocks.append(indata[:, 0])
        times.append(when.inputBufferAdcTime)
        assert when.inputBufferAdcTime < when.currentTime
        if sum(map(len, blocks)) > rate:
            over.set()
            raise sd.CallbackStop

    with sd.InputStream(rate, block, f"file:{path}", 1, callback=callback):
        assert over.wait(20)
    assert {len(each) for each in blocks} == {block or round(rate / 100)}
    got = np.concatenate(blocks)[rate // 2 :]
    spectrum = np.abs(np.fft.rfft(got * np.hanning(len(got))))
    assert abs(np.argmax(spectrum) * rate / len(got) - 440) < 3
    assert abs(np.std(got) - 16000 / 32768 / np.sqrt(2)) < 0.005
    assert np.allclose(np.diff(times), len(blocks[0]) / rate, atol=0.003)


def test_other_rates_say_what_to_install(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(sd.PortAudioError, match=r"44100 Hz.*pip install soxr.*-9997"):
        sd.check_input_settings(recording.source, 1, samplerate=44100)
