"""`v2m-engine listen`: what a terminal and a script see of speech."""

from __future__ import annotations

import json
import signal
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

from rig import BINARY
from rig.user import SPEECH, User

RATE = 48000
NAMES = ("Front_Center", "Rear_Left")


@pytest.fixture
def talk(tmp_path: Path) -> tuple[str, list[tuple[int, int]]]:
    """A file of two utterances, and where they are at 16 kHz."""
    parts, places = [np.zeros(RATE // 2, np.int16)], []
    for name in NAMES:
        with wave.open(str(Path(SPEECH).with_name(f"{name}.wav"))) as recording:
            words = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
        loud = np.flatnonzero(np.abs(words.astype(np.int32)) > 600)
        begin = sum(map(len, parts))
        places.append(((begin + int(loud[0])) // 3, (begin + int(loud[-1])) // 3))
        parts += [words, np.zeros(RATE, np.int16)]
    path = tmp_path / "talk.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.concatenate(parts).tobytes())
    return f"file:{path}", places


def test_a_line_of_json_for_each_segment(user: User, talk: tuple[str, list]) -> None:
    source, places = talk
    done = user.command("listen", "--json", "--source", source)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(places)
    for segment, (begin, end) in zip(found, places, strict=True):
        assert segment["start"] <= begin < end <= segment["end"] < end + 16000
        assert segment["start_s"] == segment["start"] / 16000
        assert segment["end_s"] == segment["end"] / 16000
        assert segment["length_s"] == pytest.approx(segment["end_s"] - segment["start_s"])
        assert 0.4 < segment["probability"] <= 1
        assert -40 < segment["level_db"] < 0
        assert segment["final"] is True and segment["gap"] is False
        assert segment["time_ns"] > 0


def test_text_for_people(user: User, talk: tuple[str, list]) -> None:
    source, places = talk
    done = user.command("listen", "--source", source, "--max-s", "0.9", "--pad-ms", "0")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) > len(places)  # split
    assert all(" s to " in line and "dB" in line and "|#" in line for line in lines)


def test_it_listens_to_the_service(user: User, talk: tuple[str, list]) -> None:
    source, _ = talk
    user.start("--source", source, "--history", "30")
    pipe = subprocess.Popen(
        [BINARY, "listen", "--json", "--partial-ms", "100"],
        env=user.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert pipe.stdout is not None
    first = json.loads(pipe.stdout.readline())
    assert first["final"] is False
    # Whoever reads may stop.
    pipe.stdout.close()
    assert pipe.wait(timeout=30) == 0


def test_what_is_being_said_when_it_ends(user: User, talk: tuple[str, list]) -> None:
    """Ctrl-C in the middle of a word."""
    source, _ = talk
    user.start("--source", source, "--history", "30")
    with subprocess.Popen(
        [BINARY, "listen", "--json", "--partial-ms", "50", "--min-speech-ms", "32"],
        env=user.env,
        stdout=subprocess.PIPE,
        text=True,
    ) as pipe:
        assert pipe.stdout is not None
        growing = json.loads(pipe.stdout.readline())
        assert growing["final"] is False
        pipe.send_signal(signal.SIGINT)
        rest = [json.loads(line) for line in pipe.stdout]
        assert pipe.wait(timeout=30) == 0
    assert rest[-1]["final"] is True and rest[-1]["end"] >= growing["end"]


def test_an_engine_that_goes_and_comes_back(user: User, talk: tuple[str, list]) -> None:
    """Listening goes on with the next engine, and ends when none comes."""
    path = Path(talk[0].removeprefix("file:"))
    with wave.open(str(path)) as said:
        words = said.readframes(said.getnframes())
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(words * 10)
    engine = user.start("--history", "30", "--source", talk[0])
    with subprocess.Popen(
        [BINARY, "listen", "--json"],
        env=user.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as pipe:
        assert pipe.stdout is not None and pipe.stderr is not None
        json.loads(pipe.stdout.readline())
        engine.kill()
        assert "waiting for it" in pipe.stderr.readline()
        engine = user.start("--history", "30", "--source", talk[0])
        assert "listening again" in pipe.stderr.readline()
        while not (segment := json.loads(pipe.stdout.readline()))["gap"]:
            pass  # what was open when it went
        assert json.loads(pipe.stdout.readline())["start"] > segment["start"]
        engine.kill()
        _, errors = pipe.communicate(timeout=30)
        assert pipe.returncode == 1
        assert "the engine is gone" in errors.splitlines()[-1]


def test_a_source_that_is_silent_says_why(user: User) -> None:
    with subprocess.Popen(
        [BINARY, "listen", "--source", "default"], env=user.env, stderr=subprocess.PIPE, text=True
    ) as pipe:
        assert pipe.stderr is not None
        line = pipe.stderr.readline()
        while "no audio from default" not in line:  # the engine warns as well
            assert line, "it ended"
            line = pipe.stderr.readline()
        assert pipe.poll() is None  # it may come yet
        pipe.kill()


def test_without_speech_detection(user: User) -> None:
    (user.config / "v2m-engine/config.toml").write_text('[vad]\nbackend = "off"\n')
    done = user.command("listen", "--source", f"file:{SPEECH}")
    assert done.returncode == 1
    assert "switched off" in done.stderr and "--vad-backend off" in done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ("--threshold", "2"),
        ("--threshold", "nan"),
        ("--max-s", "0.1"),
        ("--partial-ms", "0"),
        ("--pad-ms=-1",),
        ("--source", "file:"),
        ("--speech",),
    ],
)
def test_wrong_usage(user: User, wrong: tuple[str, ...]) -> None:
    done = user.command("listen", *wrong)
    assert done.returncode == 2, done.stderr
    assert wrong[0].strip("-").partition("=")[0].replace("-", "_") in done.stderr.replace("-", "_")
