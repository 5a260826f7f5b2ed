"""The speech track from outside: equal to the reference, whatever holds the worker up."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import wait_until
from rig.speech_track import END, WINDOW, Track, connect, difference, read, turns, write_wav
from rig.speech_track import SPEECH as SPEECH_LANE
from rig.user import SPEECH, User
from rig.vad_reference import Reference, dictation
from v2m_engine import VADProcessor

ENDED = 3
#: What is compared with the reference.
PLAIN = ("--vad-hearing", "plain")


def played(user: User, *arguments: str, seconds: float = 120) -> Track:
    """Plays a file to its end, as fast as it goes; everything that was published."""
    user.start("--no-pace", *arguments)
    peer, ring = connect(user.socket)
    wait_until(lambda: ring.state() == ENDED, "the file's end", seconds)
    track = read(ring)
    assert len(track.probabilities) == ring.committed() // WINDOW, "the end came too early"
    del peer
    return track


def test_eleven_minutes_of_dictation_equal_the_reference(user: User, tmp_path: Path) -> None:
    samples = dictation(11)
    write_wav(tmp_path / "speech.wav", samples)
    track = played(user, "--source", f"file:{tmp_path}/speech.wav", "--history", "700", *PLAIN)
    # At 16 kHz the samples go through as they are: positions are the file's own.
    assert np.array_equal(track.samples, samples[: len(track.samples)])
    assert len(track.samples) > len(samples) - WINDOW
    assert 0.2 < float(np.mean(track.probabilities > 0.5)) < 0.9, "not the speech that it should be"
    assert difference(track) <= 1e-4
    # Every turn, with the end of the last one where the audio ends.
    expected = turns(track.probabilities)
    if expected[-1][0] != END:
        expected.append((END, len(track.samples)))
    assert [(turn.kind, turn.position) for turn in track.turns] == expected
    starts = [turn.position for turn in track.turns[0::2]]
    for start, end in zip(starts, track.turns[1::2], strict=True):
        assert end.length == end.position - start
    vad = user.status()["vad"]
    assert (vad["windows"], vad["missed"], vad["caught_up"]) == (len(track.probabilities), 0, 0)
    assert vad["problem"] is None and user.status()["degraded"] == []


def test_unless_told_otherwise_it_hears_more_than_the_reference(user: User, tmp_path: Path) -> None:
    """A weak voice over DC: what `VADProcessor` says of it where it hears like this."""
    samples = np.round((0.003 * dictation(0.5) + 0.07) * 32768) / 32768
    write_wav(tmp_path / "weak.wav", samples.astype(np.float32))
    source = f"file:{tmp_path}/weak.wav"
    for backend in ((), ("--vad-backend", "ort", "--python-onnxruntime", python_package())):
        track = played(user, "--source", source, *backend)
        assert user.status()["vad"]["model"].endswith(", enhanced")
        expected = np.asarray(VADProcessor(hearing="enhanced").probabilities(track.samples))
        found = track.probabilities
        assert np.max(np.abs(expected[: len(found)] - found)) <= 1e-4
        assert float(np.mean(found > 0.5)) > 0.2
        user.stop_all()
    assert float(np.mean(played(user, "--source", source, *PLAIN).probabilities > 0.5)) < 0.02


class Frozen:
    """One thread of another process, stopped by ptrace(2) while the others go on."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
    WALL = 0x40000000

    def __init__(self, pid: int, name: str) -> None:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        (self.tid,) = (int(t.name) for t in tasks if (t / "comm").read_text().strip() == name)
        self.libc = ctypes.CDLL(None, use_errno=True)

    def _ptrace(self, request: int) -> None:
        if self.libc.ptrace(ctypes.c_long(request), self.tid, None, None) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"ptrace: {os.strerror(error)}")

    def __enter__(self) -> Frozen:
        self._ptrace(self.SEIZE)
        self._ptrace(self.INTERRUPT)
        os.waitpid(self.tid, self.WALL)
        return self

    def __exit__(self, *_: object) -> None:
        self._ptrace(self.DETACH)


def test_a_worker_that_was_held_up_catches_up_without_skipping(user: User, tmp_path: Path) -> None:
    samples = dictation(0.4)
    write_wav(tmp_path / "speech.wav", samples)
    source = f"file:{tmp_path}/speech.wav"
    engine = user.start("--source", source, *PLAIN)
    peer, ring = connect(user.socket)
    wait_until(lambda: ring.committed(SPEECH_LANE) > 20, "the first windows")
    with Frozen(engine.pid, "v2m-vad"):
        before, position = ring.committed(SPEECH_LANE), ring.committed()
        wait_until(lambda: ring.committed() > position + 2 * 16_000, "capture to go on")
        assert ring.committed(SPEECH_LANE) == before
        status = user.status()
        assert status["vad"]["lag_ms"] > 1500
        assert any("behind" in line for line in status["degraded"]), status["degraded"]
    wait_until(lambda: user.status()["vad"]["caught_up"] == 1, "the worker to catch up")
    vad = user.status()["vad"]
    assert vad["worst_lag_ms"] > 1500 and vad["missed"] == 0 and vad["lag_ms"] < 1000
    assert user.status()["losses"]["gaps"] == 0, "capture was held up too"
    wait_until(lambda: ring.state() == ENDED, "the file's end", 60)
    track = read(ring)
    assert len(track.probabilities) == ring.committed() // WINDOW
    assert difference(track) <= 1e-4
    engine.terminate()
    assert engine.stderr is not None and "behind and caught up" in engine.stderr.read()
    del peer


def test_windows_that_nobody_kept_are_no_number_and_the_rest_goes_on(
    user: User, tmp_path: Path
) -> None:
    samples = dictation(0.35)
    write_wav(tmp_path / "speech.wav", samples)
    source = f"file:{tmp_path}/speech.wav"
    engine = user.start("--source", source, "--history", "4", *PLAIN)
    peer, ring = connect(user.socket)
    wait_until(lambda: ring.committed(SPEECH_LANE) > 20, "the first windows")
    with Frozen(engine.pid, "v2m-vad"):
        held = ring.committed(SPEECH_LANE)
        wait_until(lambda: ring.committed() // WINDOW > held + ring.history // WINDOW + 30, "5 s")
    wait_until(lambda: ring.committed(SPEECH_LANE) >= ring.committed() // WINDOW - 1, "the rest")
    status = user.status()
    missed = status["vad"]["missed"]
    assert missed >= 30 and status["vad"]["problem"] is None
    told = f"no speech probability for {missed} windows"
    assert any(told in line for line in status["degraded"])
    wait_until(lambda: ring.state() == ENDED, "the file's end", 60)
    # More than the samples' history: the speech track's own is longer.
    windows = ring.committed(SPEECH_LANE)
    assert windows == ring.committed() // WINDOW
    probabilities = np.asarray(ring.speech(0, windows))
    nowhere = np.isnan(probabilities)
    first = int(np.argmax(nowhere))
    assert first >= held and nowhere[first : first + missed].all() and nowhere.sum() == missed
    # Before it as ever, after it as if the audio began there.
    after = first + missed
    for begin, end in ((0, first), (after, windows)):
        expected = Reference().probabilities(samples[begin * WINDOW : end * WINDOW])
        assert np.max(np.abs(expected - probabilities[begin:end])) <= 1e-4
    del peer


def test_it_can_be_off_or_elsewhere(user: User, tmp_path: Path) -> None:
    config = user.config / "v2m-engine/config.toml"
    config.write_text('[vad]\nbackend = "off"\n')
    engine = user.start()
    wait_until(lambda: user.status()["ring"]["position"] > 5000, "audio")
    status = user.status()
    assert status["vad"]["backend"] == "off" and status["vad"]["windows"] == 0
    assert status["vad"]["problem"] is None and status["degraded"] == []
    assert "vad        off" in user.command("status").stdout
    # An unpaced file waits for nobody then.
    engine.kill()
    engine.wait()
    user.start("--no-pace")
    wait_until(lambda: user.status()["state"] == "ended", "the file's end")


def has_realtime() -> bool:
    return os.geteuid() == 0


def test_it_stays_on_its_cpu_below_the_audio_thread(user: User, tmp_path: Path) -> None:
    write_wav(tmp_path / "speech.wav", dictation(0.5))
    source = f"file:{tmp_path}/speech.wav"
    allowed = sorted(os.sched_getaffinity(0))
    for cpu in ("auto", str(allowed[0]), "off", "4095"):
        engine = user.start("--source", source, "--vad-cpu", cpu)
        wait_until(lambda: user.status()["vad"]["windows"] > 5, "windows")
        if cpu == "auto" and len(allowed) > 1:
            wait_until(lambda: user.status()["vad"]["cpu"] is not None, "its CPU")
        vad = user.status()["vad"]
        (tid,) = (
            int(task.name)
            for task in Path(f"/proc/{engine.pid}/task").iterdir()
            if (task / "comm").read_text().strip() == "v2m-vad"
        )
        real = sorted(os.sched_getaffinity(tid))
        if cpu == "auto" and len(allowed) > 1:
            assert real == [vad["cpu"]]
        elif cpu == str(allowed[0]):
            assert real == [allowed[0]] and vad["cpu"] == allowed[0]
        else:
            assert real == allowed and vad["cpu"] is None
        refused = [line for line in user.status()["degraded"] if "not pinned" in line]
        assert bool(refused) == (cpu == "4095"), refused
        if has_realtime():
            assert os.sched_getscheduler(tid) & ~0x40000000 == os.SCHED_FIFO
            assert vad["scheduling"] == f"fifo {os.sched_getparam(tid).sched_priority}"
            assert os.sched_getparam(tid).sched_priority < 70
        engine.kill()
        engine.wait()


# --- ONNX Runtime -------------------------------------------------------------

OLD = """
struct base { const void *api; const char *(*version)(void); };
static const char *version(void) { return "1.16.3"; }
static const struct base BASE = { 0, version };
const struct base *OrtGetApiBase(void) { return &BASE; }
"""


def python_package() -> str:
    spec = find_spec("onnxruntime")
    assert spec is not None and spec.submodule_search_locations
    return spec.submodule_search_locations[0]


def test_through_onnx_runtime_it_is_the_same(user: User, tmp_path: Path) -> None:
    samples = dictation(0.5)
    write_wav(tmp_path / "speech.wav", samples)
    source = f"file:{tmp_path}/speech.wav"
    arguments = ("--source", source, "--vad-backend", "ort", *PLAIN)
    track = played(user, *arguments, "--python-onnxruntime", python_package())
    vad = user.status()["vad"]
    assert vad["backend"] == "ort" and "ONNX Runtime 1." in vad["model"], vad
    assert difference(track) <= 1e-4
    assert not (Path(user.env["HOME"]) / ".cache").exists(), "telemetry was written"
    user.stop_all()
    # The same by the environment; the silero-vad package's own file as the model.
    (library,) = Path(python_package(), "capi").glob("libonnxruntime.so*")
    silero = find_spec("silero_vad")
    assert silero is not None and silero.submodule_search_locations
    model = Path(silero.submodule_search_locations[0], "data/silero_vad.onnx")
    user.env["ORT_DYLIB_PATH"] = str(library)
    track = played(user, *arguments, "--vad-model", str(model))
    assert str(model) in user.status()["vad"]["model"]
    assert difference(track) <= 1e-4
    user.stop_all()
    # And by the configuration.
    config = user.config / "v2m-engine/config.toml"
    config.write_text(f'[vad]\nbackend = "ort"\nonnxruntime = "{library}"\n')
    user.env["ORT_DYLIB_PATH"] = "/nonexistent"
    played(user, "--source", f"file:{SPEECH}")
    assert user.status()["vad"]["problem"] is None


@pytest.mark.parametrize("what", ["none", "missing", "broken", "old", "model"])
def test_without_a_usable_runtime_capture_goes_on_and_says_what_to_do(
    user: User, tmp_path: Path, what: str
) -> None:
    broken, old = tmp_path / "broken.so", tmp_path / "old.so"
    broken.write_text("not a library")
    (tmp_path / "old.c").write_text(OLD)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", old, tmp_path / "old.c"], check=True)
    cases: dict[str, tuple[list[str], list[str]]] = {
        "none": ([], ["no ONNX Runtime 1.", "pip install onnxruntime"]),
        "missing": (["--vad-onnxruntime", "/nowhere.so"], ["/nowhere.so: no such file"]),
        "broken": (["--vad-onnxruntime", str(broken)], [f"{broken}: does not load"]),
        "old": (["--vad-onnxruntime", str(old)], [f"{old}: is 1.16.3, older than 1."]),
        "model": (
            ["--python-onnxruntime", python_package(), "--vad-model", str(broken)],
            [f"cannot use the VAD model {broken}", "silero-vad's 16 kHz ONNX files"],
        ),
    }
    arguments, words = cases[what]
    user.env["ORT_DYLIB_PATH"] = "/nowhere/libonnxruntime.so"
    engine = user.start("--vad-backend", "ort", *arguments)
    problem: Any = wait_until(lambda: user.status()["vad"]["problem"], "the reason")
    assert all(word in problem for word in words), problem
    status = user.status()
    assert any(problem in line for line in status["degraded"])
    wait_until(lambda: user.status()["state"] == "ended", "capture to go on to the end")
    position, vad = user.status()["ring"]["position"], user.status()["vad"]
    assert position > 16_000 and vad["windows"] == 0 and vad["model"] is None
    assert words[0] in user.command("status").stdout
    engine.terminate()
    assert engine.stderr is not None
    log = engine.stderr.read()
    assert words[0] in log and "panicked" not in log
    if what in ("missing", "broken", "old"):
        config = user.config / "v2m-engine/config.toml"
        config.write_text(f'[vad]\nbackend = "ort"\nonnxruntime = "{arguments[1]}"\n')
        doctor = user.command("doctor")
        assert words[0] in doctor.stdout and "[vad]" in doctor.stdout, doctor


# --- hours --------------------------------------------------------------------

#: `make test-vad-hours` has ten.
HOURS = float(os.environ.get("V2M_VAD_HOURS", "0.25"))


def anonymous_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])


def test_hours_without_drift_leak_or_a_missed_window(user: User, tmp_path: Path) -> None:
    part = dictation(5)
    parts = max(2, round(HOURS * 12))
    write_wav(tmp_path / "hours.wav", *[part] * parts)
    source = f"file:{tmp_path}/hours.wav"
    engine = user.start("--no-pace", "--source", source, "--history", "4000", *PLAIN)
    peer, ring = connect(user.socket)
    length = parts * len(part)
    found = np.empty(length // WINDOW, np.float32)
    done, memory = 0, []
    deadline = time.monotonic() + 600 * max(1.0, HOURS)
    while done < len(found):
        assert time.monotonic() < deadline and engine.poll() is None
        now = min(ring.committed(SPEECH_LANE), len(found))
        found[done:now] = ring.speech(done, now - done)
        done = now
        if not memory and done > len(found) / 5:
            memory.append(anonymous_kib(engine.pid))
        time.sleep(0.01)
    memory.append(anonymous_kib(engine.pid))
    wait_until(lambda: ring.state() == ENDED, "the file's end")
    assert ring.committed() == length and ring.committed(SPEECH_LANE) == len(found)
    assert user.status()["vad"]["missed"] == 0
    assert memory[-1] - memory[0] < 1024, f"RssAnon in KiB: {memory}"
    # One state through all of it; the reference hears the first part and the last two.
    per_part = len(part) // WINDOW
    assert per_part * WINDOW == len(part)
    assert np.max(np.abs(Reference().probabilities(part) - found[:per_part])) <= 1e-4
    expected = Reference().probabilities(np.concatenate([part, part]))[per_part:]
    assert np.max(np.abs(expected - found[-per_part:])) <= 1e-4
    del peer
