"""Only what was said: one file with cues, or a file for each segment."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rig.recorder import RATE, Service, as_float, read_wav
from v2m_engine import AudioCapture

Engine = Callable[..., Service]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Three sentences with pauses, at 16 kHz."""
    directory = tmp_path_factory.mktemp("spoken")
    parts = [np.zeros(RATE, "<i2")]
    for number, text in enumerate(
        (
            "the quick brown fox jumps over the lazy dog",
            "good morning everybody",
            "one two three four five six seven",
        ),
    ):
        path = directory / f"{number}.wav"
        subprocess.run(["espeak-ng", "-w", path, text], check=True)
        resampled = directory / f"{number}-16.wav"
        subprocess.run(["sox", path, "-r", str(RATE), "-b", "16", resampled], check=True)
        parts += [soundfile.read(resampled, dtype="int16")[0], np.zeros(2 * RATE, "<i2")]
    return np.concatenate(parts).astype("<i2")


#: All of it is judged in a moment, and kept.
AT_ONCE = ("--no-pace", "--history", "120")


def test_one_file_with_cues(engine: Engine, spoken: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    engine(spoken, *AT_ONCE).record(out, "--speech", "--last", "2m")
    got = read_wav(out)
    assert 2 <= len(got.cues) <= 6
    starts = [sample for sample, _ in got.cues]
    positions = [int(label.rpartition("@")[2]) for _, label in got.cues]
    assert starts[0] == 0 and len(got.samples) < len(spoken) - 3 * RATE
    for start, end, position in zip(
        starts, [*starts[1:], len(got.samples)], positions, strict=True
    ):
        assert np.array_equal(got.samples[start:end], as_float(spoken)[position:][: end - start])
        assert end - start > RATE // 2
    # Nothing that sounds is left out.
    kept = np.zeros(len(spoken), bool)
    for start, end, position in zip(
        starts, [*starts[1:], len(got.samples)], positions, strict=True
    ):
        kept[position : position + end - start] = True
    energy = spoken.astype(np.float64) ** 2
    assert energy[kept].sum() > 0.98 * energy.sum()
    assert all(re.search(r"speech \d{8}T\d{6}\.\d{3} @", label) for _, label in got.cues)


def test_a_file_for_each_segment(engine: Engine, spoken: np.ndarray, tmp_path: Path) -> None:
    service = engine(spoken, *AT_ONCE)
    began = time.strftime("%Y%m%d")
    service.record(tmp_path / "talk.flac", "--split", "--last", "2m")
    files = sorted(tmp_path.glob("talk-*.flac"))
    assert 2 <= len(files) <= 6 and all(began[:6] in path.name for path in files)
    for path in files:
        samples = soundfile.read(path, dtype="float32")[0]
        position = int(re.search(rb"V2M_POSITION=(\d+)", path.read_bytes()[:8192])[1])
        assert np.array_equal(samples, as_float(spoken)[position : position + len(samples)])
    # Into a directory, in Python's 16 bits.
    folder = tmp_path / "folder"
    folder.mkdir()
    service.record(folder, "--split", "--format", "wav16", "--last", "2m")
    assert len(list(folder.glob("2*T*.wav"))) == len(files)


def test_two_into_one_directory(engine: Engine, spoken: np.ndarray, tmp_path: Path) -> None:
    """At once, and once more: each has all of its segments, whoever made which names."""
    service = engine(spoken, *AT_ONCE)
    arguments = ("--split", "--last", "2m")
    tapes = [service.start(tmp_path, *arguments) for _ in range(2)]
    for tape in tapes:
        assert tape.wait() == 0 and "exists" not in tape.said, tape.said
    count = len(list(tmp_path.glob("2*T*.wav")))
    assert count >= 4 and count % 2 == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("2*T*.wav")}
    service.record(tmp_path, *arguments, "--overwrite")
    files = list(tmp_path.glob("2*T*.wav"))
    assert len(files) == count // 2 * 3
    assert all(path.read_bytes() == content for path, content in before.items())
    found = sorted((read_wav(path).position, len(read_wav(path).samples)) for path in files)
    assert found[::3] == found[1::3] == found[2::3]


def test_what_counts_as_speech(
    engine: Engine, spoken: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = engine(spoken, *AT_ONCE)
    monkeypatch.setenv("V2M_ENGINE_SOCKET", service.env["V2M_ENGINE_SOCKET"])

    def kept(name: str, *arguments: str) -> int:
        out = tmp_path / name
        service.record(out, "--speech", "--last", "2m", *arguments)
        return len(read_wav(out).samples)

    usual = kept("usual.wav")
    assert kept("bare.wav", "--pad-ms", "0") < usual
    assert kept("strict.wav", "--threshold", "0.95", "--neg-threshold", "0.9") < usual
    assert kept("long.wav", "--min-speech-ms", "60000") == 0
    tape = service.start(tmp_path / "wrong.wav", "--speech", "--threshold", "2")
    assert tape.wait() == 2 and "threshold = 2" in tape.said
    capture = AudioCapture(engine="service")
    with capture.record(
        tmp_path / "p.wav", speech=True, last=120, pad_ms=0, threshold=0.9
    ) as strict:
        pass
    assert 0 < strict.samples < usual
    with pytest.raises(ValueError, match="threshold"):
        capture.record(tmp_path / "x.wav", threshold=0)


def test_speech_that_goes_on_at_the_end(engine: Engine, spoken: np.ndarray, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a word: what was said so far is kept."""
    service = engine(spoken)
    tape = service.start(tmp_path / "out.wav", "--speech", "--last", "1m", "--seconds", "2.2")
    assert tape.wait() == 0, tape.said
    got = read_wav(tmp_path / "out.wav")
    assert len(got.cues) == 1 and RATE // 2 < len(got.samples) < 2.2 * RATE


def test_without_speech_detection(engine: Engine, spoken: np.ndarray, tmp_path: Path) -> None:
    service = engine(spoken, "--vad-backend", "off")
    tape = service.start(tmp_path / "out.wav", "--speech")
    assert tape.wait() == 1 and "no speech detection" in tape.said
    assert not (tmp_path / "out.wav").exists()
