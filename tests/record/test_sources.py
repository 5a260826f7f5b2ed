"""Several sources in one file, a channel each: aligned to the sample wherever both are there,
and every gap marked."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rig import BINARY, Player, PrivatePipeWire, wait_until
from rig.alsa import AlsaMic
from rig.impulses import Recorded, link_impulses, play_into, read
from rig.playing import write_wav
from rig.recorder import RATE, Service, as_float, noise, read_wav

#: `make test-together`: twenty starts and half an hour of each.
LONG = bool(os.environ.get("V2M_TEST_TOGETHER_LONG"))
STARTS = 20 if LONG else 2
HALF_AN_HOUR = 1800 if LONG else 6


def recorder(rig: PrivatePipeWire, out: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    sources = () if "--source" in arguments else ("--source", "mic", "--source", "monitor:speaker")
    return subprocess.Popen(
        [BINARY, "record", out, "--rate", "48000", *sources, *arguments],
        env=rig.env | {"HOME": str(rig.directory)} | env,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends(process: subprocess.Popen[str], seconds: float) -> str:
    said = process.communicate(timeout=seconds)[1]
    assert process.returncode == 0 and "panicked" not in said, said
    return said


def recorded(rig: PrivatePipeWire, out: Path, seconds: float) -> Recorded:
    ends(recorder(rig, out, "--seconds", str(seconds)), seconds * 1.5 + 30)
    found = read(out)
    assert found.seconds == seconds
    out.unlink()
    return found


@pytest.mark.parametrize("quantum", [64, 256, 1024])
def test_impulses_stand_at_the_same_sample(quantum: int, tmp_path: Path) -> None:
    """In each of several fresh starts, of a microphone and of what a sink plays, which have
    drivers of their own until they are recorded together; and after half an hour.
    """
    with PrivatePipeWire(quantum=quantum) as rig:
        rig.create_source("mic", own_clock=True)
        rig.create_sink("speaker", own_clock=True)
        player = play_into(rig, "mic", "speaker")
        for start in range(STARTS):
            found = recorded(rig, tmp_path / f"{start}.wav", 2)
            assert found.assert_aligned(players=[player]) > 10, found.labels
        if LONG:
            found = recorded(rig, tmp_path / "long.wav", HALF_AN_HOUR)
            together = found.assert_aligned(players=[player])
            assert together > HALF_AN_HOUR * 10, found.labels


def test_who_was_held_up_catches_up(tmp_path: Path) -> None:
    """However many gaps there were meanwhile: at a small quantum, on a busy machine, many."""
    out = tmp_path / "out.wav"
    with PrivatePipeWire(quantum=64) as rig:
        rig.create_source("mic", own_clock=True)
        rig.create_sink("speaker", own_clock=True)
        player = play_into(rig, "mic", "speaker")
        recording = recorder(rig, out, "--sync", "0.1")
        wait_until(lambda: out.exists() and out.stat().st_size > 1 << 18, "audio", seconds=30)
        recording.send_signal(signal.SIGSTOP)
        time.sleep(4)
        recording.send_signal(signal.SIGCONT)
        recording.send_signal(signal.SIGINT)
        ends(recording, 30)
    found = read(out)
    assert found.seconds > 4 and found.assert_aligned(players=[player]) > 40, found.labels


def test_clocks_that_differ_are_followed(tmp_path: Path) -> None:
    """Of two cards whose clocks are 200 ppm apart, each the other's leader."""
    mics = AlsaMic(tmp_path, {"fast": {"ppm": 200, "impulses": 1}}, impulses=1)
    seconds = HALF_AN_HOUR * (1 if LONG else 2)
    with PrivatePipeWire() as rig:
        running = {}
        for order in (("mic", "fast"), ("fast", "mic")):
            out = tmp_path / f"{order[0]}.wav"
            sources = [word for name in order for word in ("--source", f"alsa:{name}")]
            running[out] = recorder(rig, out, "--seconds", str(seconds), *sources, **mics.env)
        for out, recording in running.items():
            ends(recording, seconds * 1.5 + 30)
            found = read(out)
            # The lines through their times are found in the first four seconds.
            off = found.off(0)[found.impulses[0] > 4 * found.rate]
            apart = np.abs(off)
            print(f"{out.stem}: {np.median(apart):.2f} samples off, {apart.max():.2f} at most")
            # Half of one is rounding; on a busy machine the line is a little off for a moment.
            most = 1 + len(apart) / 200
            assert np.median(apart) <= 0.5 and (apart > 1).sum() <= most, np.sort(apart)[-10:]
            assert found.assert_aligned(settled=4, most=1.5) >= 10 * (seconds - 4), found.labels


def test_it_goes_on_whatever_happens_to_the_sources(tmp_path: Path) -> None:
    """The defaults change, the daemon is killed, a source vanishes for a while."""
    out = tmp_path / "out.wav"
    step = HALF_AN_HOUR / 6
    quiet: list[tuple[float, float]] = []
    players: list[Player] = []
    names = ("mic-0", "mic-1", "speaker-0", "speaker-1")

    def plug_in() -> None:
        for name in names[:2]:
            rig.create_source(name, own_clock=True)
        for name in names[2:]:
            rig.create_sink(name, own_clock=True)
        rig.set_default_source("mic-0")
        rig.set_default_sink("speaker-0")
        players.append(play_into(rig, *names))

    with PrivatePipeWire(quantum=256) as rig:
        plug_in()
        sources = ("--source", "default", "--source", "monitor:default")
        recording = recorder(rig, out, *sources, "--sync", "0.1")
        try:
            wait_until(lambda: out.exists() and out.stat().st_size > 1 << 18, "audio", seconds=30)
            rig.set_default_source("mic-1")
            time.sleep(step)
            rig.set_default_sink("speaker-1")
            time.sleep(step)
            since = time.monotonic()
            rig.kill()
            time.sleep(1)
            rig.start()
            plug_in()
            quiet.append((since, time.monotonic()))
            time.sleep(step)
            # Its links go before it does: its last cycles may be silent.
            since = time.monotonic()
            rig.destroy_node("mic-0")
            rig.set_default_source("mic-0")
            vanished = time.monotonic()
            quiet.append((since, since))
            time.sleep(10 if LONG else 3)
            since = time.monotonic()
            rig.create_source("mic-0", own_clock=True)
            link_impulses(rig, "mic-0")
            quiet.append((since, time.monotonic()))
            time.sleep(2 * step)
        finally:
            recording.send_signal(signal.SIGINT)
            said = recording.communicate(timeout=30)[1]
        over = time.monotonic()
        assert recording.returncode == 0, said
    found = read(out)
    print("\n".join(found.labels[:60]))
    together = found.assert_aligned(quiet, players=players)
    assert together > 10 * HALF_AN_HOUR, (together, found.labels)
    # Nothing is missing: the file is as long as it took.
    assert abs(found.seconds - (over - found.began_ns / 1e9)) < 15
    # What the daemon's death cost is marked in both, the microphone that was gone in its own.
    for gaps in found.gaps:
        assert any(end - begin > 0.9 for begin, end in gaps), found.labels
    at = vanished - found.began_ns / 1e9
    longest = max(found.gaps[0], key=lambda gap: gap[1] - gap[0])
    assert abs(longest[0] - at) < 2, (longest, at)


def two_files(directory: Path) -> tuple[list[np.ndarray], list[str]]:
    """Noise in two files, and the arguments that record them."""
    played = [noise(30, seed) for seed in (1, 2)]
    paths = [directory / f"{name}.wav" for name in "ab"]
    for path, samples in zip(paths, played, strict=True):
        write_wav(path, samples)
    return [as_float(one) for one in played], [
        word for path in paths for word in ("--source", f"file:{path}")
    ]


def heard(channel: np.ndarray, played: np.ndarray) -> list[tuple[int, int]]:
    """Where in what was played each quarter of a second of a channel is found, and how far
    into the channel that is. What is silent in part, or where a sample was left out, isn't.
    """
    piece = RATE // 4
    found = []
    for at in range(0, len(channel) - piece, piece):
        wanted = channel[at : at + piece]
        for begin in np.flatnonzero(played[: len(played) - piece] == wanted[0]):
            if np.array_equal(played[begin : begin + piece], wanted):
                found.append((int(begin), at))
    return found


def test_flac_of_two_sources(
    engine: Callable[..., Service], minute: np.ndarray, tmp_path: Path
) -> None:
    """As another program decodes it: each channel is what its source played, all along."""
    played, sources = two_files(tmp_path)
    out = tmp_path / "out.flac"
    engine(minute).record(out, "--seconds", "3", *sources)
    samples, rate = soundfile.read(out, dtype="float32")
    assert samples.shape == (3 * RATE, 2) and rate == RATE
    checked = subprocess.run(["flac", "-t", "-s", "-w", out], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    for channel, whole in zip(samples.T, played, strict=True):
        found = heard(channel, whole)
        assert len(found) > 8, found


@pytest.mark.parametrize("option", ["--speech", "--split"])
def test_speech_of_two_sources_is_refused(tmp_path: Path, option: str) -> None:
    _, sources = two_files(tmp_path)
    out = tmp_path / "out.wav"
    command = [BINARY, "record", out, option, *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "one source only" in done.stderr, done
    assert not out.exists()


def test_the_engine_of_two_sources_comes_back(
    engine: Callable[..., Service], minute: np.ndarray, tmp_path: Path
) -> None:
    played, sources = two_files(tmp_path)
    service = engine(minute)
    out = tmp_path / "out.wav"
    tape = service.start(out, "--sync", "0.05", *sources)

    def grown(frames: int) -> None:
        size = (out.stat().st_size if out.exists() else 0) + 8 * frames
        wait_until(lambda: out.exists() and out.stat().st_size > size, "audio")

    grown(2 * RATE)
    service.kill()
    runtime = Path(service.env["XDG_RUNTIME_DIR"])
    service = Service(runtime, runtime / "played.wav")
    try:
        grown(2 * RATE)
        assert tape.stop() == 0, tape.said
    finally:
        service.kill()
    wav = read_wav(out)
    gaps = [at for at, label in wav.cues if label.startswith("gap")]
    assert gaps, wav.cues
    for channel, whole in zip(wav.samples.T, played, strict=True):
        found = heard(channel, whole)
        # The file is played from its beginning again.
        begins = [begin for begin, _ in found]
        again = int(np.argmin(np.diff(begins))) + 1
        assert begins[again] < begins[again - 1], begins
        assert len(begins[:again]) > 3 and len(begins[again:]) > 3, begins
        # What lies between the two is marked.
        before, after = found[again - 1][1], found[again][1]
        assert any(before <= at <= after for at in gaps), (before, after, wav.cues)
