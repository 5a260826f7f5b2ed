"""Wrong usage: exit code 2 and one line that says what was wrong, whatever was written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rig.hostile import ODD, is_clean
from rig.user import User

WRONG = [
    "nothing",
    "status more",
    "run --no-such-flag",
    "run --channel 0",
    "run --latency 0/48000",
    "run --history 3",
    "run --linger soon",
    "run --gain 61",
    "run --gain loud",
    "run --highpass 1001",
    "run --highpass -5",
    "run --virtual-microphone-gate voices",
    "run --source monitor:",
    "run --allow python3",
    "record",
    "record note.mp3",
    "record note.wav --rate 44100",
    "record note.wav --seconds -1",
    "record note.wav --seconds 0",
    "record note.wav --threshold nan",
    "record - --split",
    "listen --max-s 0",
    "monitor --twice",
    "vad",
    "vad no.wav --format xml",
    "vad no.wav --jobs 0",
    "vad no.wav --skip-existing",
    "sources --xml",
    "mute now",
    "bench latency --rounds 0",
]


def told_in_a_line(user: User, *arguments: str) -> str:
    done = user.command(*arguments)
    said = done.stderr
    assert done.returncode == 2 and done.stdout == "", (arguments, done)
    assert said.startswith("v2m-engine: ") and said.count("\n") == 1, (arguments, said)
    assert is_clean(said), (arguments, said)
    return said


@pytest.mark.parametrize("line", WRONG)
def test_wrong_usage_is_told_in_a_line(user: User, line: str) -> None:
    told_in_a_line(user, *line.split())


def test_wrong_values_of_any_text(user: User) -> None:
    draw = random.Random(7)
    flags = ["run --channel", "run --history", "run --gain", "record x.wav --rate", "vad --split"]
    for odd in ODD:
        *command, flag = draw.choice(flags).split()
        said = told_in_a_line(user, *command, f"{flag}={odd}")
        assert flag in said, said


def test_what_there_is_instead_is_named(user: User) -> None:
    assert "off, speech" in told_in_a_line(user, "run", "--virtual-microphone-gate", "on")
    assert "'--rate'" in told_in_a_line(user, "record", "x.wav", "--rat", "8000")
    assert "<OUT>" in told_in_a_line(user, "record")


def level(user: User, *arguments: str) -> float:
    """The root mean square of a second of speech, as it is read."""
    engine = user.start("--no-pace", *arguments)
    out = Path(user.env["HOME"]) / "heard.f32"
    done = user.command("record", str(out), "--format", "f32le", "--overwrite", "--last", "1m")
    assert done.returncode == 0, done.stderr
    engine.terminate()
    engine.wait(10)
    heard = memoryview(out.read_bytes()).cast("f")
    return float((sum(x * x for x in heard) / len(heard)) ** 0.5)


def test_what_is_read_is_louder_only_where_that_is_asked_for(user: User) -> None:
    as_it_is = level(user)
    assert abs(level(user, "--gain", "-6.02") / as_it_is - 0.5) < 0.001
    (user.config / "v2m-engine/config.toml").write_text("gain = 12\nhighpass = 1000\n")
    filtered = level(user, "--gain", "0")
    assert 0.05 * as_it_is < filtered < 0.9 * as_it_is
    user.start()
    text = user.command("status").stdout
    assert "+12 dB" in text and "from 1000 Hz on" in text
