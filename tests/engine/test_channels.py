"""Which channels are heard, of devices that are made up: the table in docs/channels.md."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rig import ROOT, wait_until
from rig.independent_reader import NOTICES, SAMPLES
from rig.speech import say
from rig.speech_track import connect
from rig.user import User

Floats = npt.NDArray[np.float64]
RATE = 16_000
ENDED, CHANNEL = 3, 6
#: A change is a fade, in samples: 5 to 20 ms.
FADE = range(80, 321)
STAY = 2 * RATE
BLOCK = 64

VOICES = ("en", "en-us", "de", "fr")


def seconds(length: float) -> int:
    return int(length * RATE)


def silence(length: float) -> Floats:
    return np.zeros(seconds(length))


def noise(dbfs: float, length: float, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0, 10 ** (dbfs / 20), seconds(length))


def voice(length: float = 8, lead: float = 0.0, who: int = 0) -> Floats:
    """Sentences with short pauses between them, at -12 dBFS peak."""
    parts = [silence(lead)]
    while sum(map(len, parts)) < seconds(length):
        text = "The quick brown fox jumps over the lazy dog and sleeps a while."
        words = say(text, VOICES[who]).astype(float)
        parts += [0.25 * words / np.abs(words).max(), silence(0.3)]
    return np.concatenate(parts)[: seconds(length)]


def music(length: float = 8, seed: int = 1) -> Floats:
    """Plucked strings at -14 dBFS peak, one after the other."""
    rng = np.random.default_rng(seed)
    out = silence(length)
    for start in range(0, len(out), seconds(0.25)):
        period = int(RATE / rng.choice([110, 147, 165, 196, 220, 262, 330]))
        string = rng.uniform(-1, 1, period)
        left = min(seconds(1.5), len(out) - start)
        sound = np.empty(left)
        for at in range(0, left, period):
            piece = string[: left - at]
            sound[at : at + len(piece)] = piece
            string = 0.498 * (string + np.roll(string, 1))
        out[start : start + left] += sound
    return 0.2 * out / np.abs(out).max()


def later(sound: Floats, samples: int) -> Floats:
    return np.concatenate([np.zeros(samples), sound[:-samples]])


def turns(length: float, each: float) -> list[Floats]:
    """Two speakers, who alternate."""
    both = [voice(length, who=0), voice(length, who=2)]
    who = (np.arange(seconds(length)) // seconds(each)) % 2
    return [sound * (who == n) for n, sound in enumerate(both)]


V, MUSIC = voice(), music()
LATE = voice(8, lead=1.2)
HUM = 0.07 + 0.05 * np.sin(2 * np.pi * 50 * np.arange(len(V)) / RATE)
QUIET = silence(8)

DEVICES: dict[str, Callable[[], list[Floats]]] = {
    "a microphone": lambda: [V],
    "a microphone on the left, silence on the right": lambda: [V, QUIET],
    "silence on the left, a microphone on the right": lambda: [QUIET, V],
    "the third of eight, the others silent": lambda: [V if n == 2 else QUIET for n in range(8)],
    "the fifth of six, after three seconds of silence": lambda: [
        voice(8, lead=3) if n == 4 else QUIET for n in range(6)
    ],
    "the same on both sides": lambda: [V, V],
    "the same five times, and once in opposite polarity": lambda: [V] * 5 + [-V],
    "opposite polarity": lambda: [V, -V],
    "opposite polarity, 3.5 dB louder on the right": lambda: [V, -1.5 * V],
    "a copy 12 dB softer on the left": lambda: [0.25 * V, V],
    "a copy that comes 3 ms later": lambda: [V, later(V, 48)],
    "two microphones a hand apart, each with its own noise": lambda: [
        V + noise(-70, 8, 1),
        0.8 * later(V, 3) + noise(-70, 8, 2),
    ],
    "DC and hum on the left, a microphone on the right": lambda: [HUM, V],
    "noise on the left, a microphone on the right": lambda: [
        noise(-50, 8, 1),
        LATE + noise(-75, 8, 2),
    ],
    "music on the left, a microphone on the right": lambda: [MUSIC, LATE],
    "an interface: a microphone, noise in 15 inputs, loopback 14 dB above": lambda: [
        LATE if n == 2 else noise(-80, 8, n) if n < 16 else 3 * music(8, n) for n in range(18)
    ],
    "a microphone and noise, loopback 14 dB above": lambda: [
        LATE,
        noise(-75, 8),
        3 * MUSIC,
        3 * MUSIC,
    ],
    "one voice, 20 dB nearer to the second microphone": lambda: [
        noise(-60, 8, 1) + 0.1 * later(V, 20),
        noise(-75, 8, 2) + V,
        noise(-75, 8, 3) + 0.05 * later(V, 40),
    ],
    "two speakers who alternate every four seconds": lambda: turns(24, 4),
    "two speakers who alternate every second": lambda: turns(16, 1),
    "music in stereo, without a voice": lambda: [MUSIC, 0.7 * music(8, 2)],
    "nothing anywhere": lambda: [QUIET] * 12,
}


def documented() -> dict[str, tuple[int, str]]:
    """Channels and what is heard, for each device of the document's table."""
    text = (ROOT / "docs/channels.md").read_text()
    _, table = text.split("| device | channels | heard |\n|---|---|---|\n")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return {device: (int(channels), heard) for device, channels, heard in rows}


def write(path: Path, channels: list[Floats], rate: int = RATE) -> Floats:
    """The file's samples, channel by channel, as the engine reads them."""
    planar = np.clip(np.round(np.stack(channels) * 32768), -32768, 32767)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(len(channels))
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(planar.T.astype("<i2").tobytes())
    return planar / 32768


def play(user: User, path: Path, *arguments: str) -> tuple[Floats, list[tuple[int, int]]]:
    """What clients read of the file, and the ring's events: positions, channels."""
    user.start("--no-pace", "--source", f"file:{path}", "--vad-backend", "off", *arguments)
    peer, ring = connect(user.socket)
    wait_until(lambda: ring.state() == ENDED, "the file's end", 60)
    samples = np.asarray(ring.samples(0, ring.committed(SAMPLES)), np.float64)
    notices = [n for n in ring.records(NOTICES) if n.kind == CHANNEL]
    del peer
    return samples, [(notice.position, notice.detail) for notice in notices]


def blocks(heard: Floats, wanted: Floats) -> npt.NDArray[np.bool_]:
    """In which blocks the two are the same."""
    count = len(heard) // BLOCK
    apart = np.abs(heard - wanted)[: count * BLOCK].reshape(count, BLOCK).max(axis=1)
    return apart < 1e-6


def test_the_table_and_the_devices_are_the_same() -> None:
    table = documented()
    assert list(table) == list(DEVICES)
    assert len(table) >= 20


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_heard(user: User, tmp_path: Path, device: str) -> None:
    count, wanted = documented()[device]
    channels = write(tmp_path / "device.wav", DEVICES[device]())
    assert len(channels) == count
    heard, events = play(user, tmp_path / "device.wav")
    assert len(heard) == channels.shape[1]
    loud = np.abs(channels).max(axis=0) > 0
    if wanted == "silence":
        assert not heard.any() and not events
    elif wanted == "whoever speaks":
        # Every word of both, but for the tenth of a second of a fade here and there.
        both = channels.sum(axis=0)
        assert np.mean(blocks(heard, both)[blocks(both * 0, both) == 0]) > 0.97
    elif wanted.startswith("one of them"):
        assert np.mean(blocks(heard, channels[0]) | blocks(heard, channels[1])) > 0.97
    else:
        numbers = [int(number) - 1 for number in wanted.split()]
        one = channels[numbers].mean(axis=0)
        # Louder than the noise in some of them.
        count = len(one) // BLOCK
        voice = np.abs(one)[: count * BLOCK].reshape(count, BLOCK).max(axis=1) > 0.002
        if "nearer" in device:
            # It takes a second of speech to be sure.
            voice[: seconds(2.5) // BLOCK] = False
        assert blocks(heard, one)[voice].all(), "from the first sample to the last"
        assert not events or events[-1][1] == numbers[0] + 1
    # From one to the other by a fade, and then it stays.
    same = [blocks(heard, channel) for channel in channels]
    alive = np.abs(channels).sum(axis=1) > 0
    same.append(blocks(heard, channels[alive].sum(axis=0) / max(1, alive.sum())))
    unlike = np.flatnonzero(~np.any(same, axis=0) & loud[: len(same[0]) * BLOCK : BLOCK])
    fades = np.split(unlike, np.flatnonzero(np.diff(unlike) > 1) + 1) if len(unlike) else []
    assert all(len(fade) * BLOCK <= FADE.stop + BLOCK for fade in fades)
    begins = np.array([fade[0] for fade in fades]) * BLOCK
    assert all(np.diff(begins) >= STAY - BLOCK)


def test_the_same_file_gives_the_same_samples(user: User, tmp_path: Path) -> None:
    device = DEVICES["two speakers who alternate every four seconds"]()
    write(tmp_path / "device.wav", device)
    first, _ = play(user, tmp_path / "device.wav")
    for engine in user.engines:
        engine.terminate()
        engine.wait(10)
    again, _ = play(user, tmp_path / "device.wav", "--history", "120")
    assert np.array_equal(first, again)


@pytest.mark.parametrize(
    ("channel", "wanted"), [("mix", [0, 1, 2]), ("FR", [1]), ("fc", [2]), ("3", [2])]
)
def test_a_channel_is_heard_that_was_asked_for(
    user: User, tmp_path: Path, channel: str, wanted: list[int]
) -> None:
    channels = write(tmp_path / "a.wav", [V, 0.5 * MUSIC, noise(-30, 8)])
    heard, _ = play(user, tmp_path / "a.wav", "--channel", channel)
    assert blocks(heard, channels[wanted].mean(axis=0)).all()
    status = user.status()["source"]
    assert status["channel"] == channel.upper() if channel.isalpha() and channel != "mix" else True
    parts = [round(c["heard"], 3) for c in status["channels"]]
    assert parts == [round(1 / len(wanted), 3) if n in wanted else 0 for n in range(3)]


def test_a_channel_that_is_not_there_is_refused_with_those_that_are(
    user: User, tmp_path: Path
) -> None:
    write(tmp_path / "a.wav", [V, V])
    for channel in ("AUX2", "3"):
        done = user.command("run", "--source", f"file:{tmp_path}/a.wav", "--channel", channel)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert channel in done.stderr and "FL, FR" in done.stderr
    done = user.command("run", "--channel", "left ear")
    assert done.returncode == 2 and "auto, mix" in done.stderr


def test_the_status_shows_every_channel(user: User, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", [0.5 * V, -V, 0.07 + QUIET, QUIET])
    play(user, tmp_path / "a.wav")
    channels = user.status()["source"]["channels"]
    assert [c["name"] for c in channels] == ["FL", "FR", "RL", "RR"] or len(channels) == 4
    assert [c["heard"] for c in channels] == [0, 1, 0, 0]
    assert [c["inverted"] for c in channels] == [True, False, False, False]
    assert [c["dead"] for c in channels] == [False, False, True, True]
    last = -V[-3 * RATE :]
    level = 10 * np.log10(np.mean(last**2))
    assert channels[1]["level_dbfs"] == pytest.approx(level, abs=0.5)
    assert channels[0]["level_dbfs"] == pytest.approx(level - 6.02, abs=0.5)
    assert channels[3]["level_dbfs"] == channels[3]["peak_dbfs"] == -120
    text = user.command("status").stdout
    assert "opposite polarity" in text and "dead" in text and ", heard" in text
