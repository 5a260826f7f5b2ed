"""What the engine's way of hearing finds that the network alone doesn't, and that it finds
nothing where there is nothing. Of everything that it mends, plain hearing is the witness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig.playing import Floats
from rig.sounds import hum, peak, pink, rumble, strings, to, white
from rig.speech import RATE, TEXTS, read_pocketsphinx, say
from v2m_engine import VADProcessor

WINDOW = 512
RECORDED = Path("/usr/share/pocketsphinx/test/data/librivox")
PLAIN, ENHANCED = VADProcessor(), VADProcessor(hearing="enhanced")


def found(vad: VADProcessor, samples: Any, first: int = 0) -> int:
    """Windows of speech from sample `first` on."""
    probabilities = np.asarray(vad.probabilities(np.asarray(samples, np.float32)))
    return int(np.sum(probabilities[first // WINDOW :] >= 0.5))


@pytest.fixture(scope="module")
def voice() -> Floats:
    """Half a minute, a recorded reader and synthetic ones, a peak of 0 dBFS each."""
    parts = [read_pocketsphinx(path) for path in sorted(RECORDED.glob("*.wav"))[:2]]
    parts += [say(text, language) for language, text in TEXTS]
    whole = np.concatenate([peak(0, part) for part in parts])
    return np.asarray(whole[: len(whole) // WINDOW * WINDOW], np.float32)


@pytest.fixture(scope="module")
def usual(voice: Floats) -> int:
    """Windows of it that plain hearing finds at a usual level."""
    windows = found(PLAIN, peak(-20, voice))
    assert windows > 0.7 * len(voice) / WINDOW
    return windows


@pytest.mark.parametrize("minutes", [0.5, 10])
def test_music_that_goes_on_does_not_deafen(voice: Floats, minutes: float) -> None:
    music = to(-30, strings(minutes * 60 + 60))
    before = int(minutes * 60 * RATE) // WINDOW * WINDOW
    talk = to(-35, voice)
    at_once = music[before:][: len(talk)] + talk
    later = np.concatenate([music[:before], at_once])
    after = found(ENHANCED, later, before)
    assert after >= 0.95 * found(ENHANCED, at_once)
    assert found(ENHANCED, at_once) >= 0.8 * found(PLAIN, at_once)
    assert found(ENHANCED, later[:before]) <= 0.002 * before / WINDOW
    assert found(PLAIN, later, before) < 0.1 * after


@pytest.mark.parametrize("level", range(-80, 1, 10))
def test_a_voice_is_found_at_every_level(voice: Floats, usual: int, level: int) -> None:
    assert found(ENHANCED, peak(level, voice)) >= 0.98 * usual
    if level <= -70:
        assert found(PLAIN, peak(level, voice)) == 0


@pytest.mark.parametrize("offset", [-0.3, 0.07, 0.5])
@pytest.mark.parametrize("level", [-50, -70])
def test_dc_hides_no_voice(voice: Floats, usual: int, offset: float, level: int) -> None:
    samples = peak(level, voice) + np.float32(offset)
    assert found(PLAIN, samples) < 0.1 * usual
    assert found(ENHANCED, samples) >= 0.98 * usual


def test_rumble_and_hum_hide_less_of_it(voice: Floats, usual: int) -> None:
    seconds = len(voice) / RATE
    low = peak(-55, voice) + to(-30, rumble(seconds))
    assert found(PLAIN, low) < 0.1 * usual
    assert found(ENHANCED, low) >= 0.9 * usual
    buzz = peak(-40, voice) + to(-40, hum(seconds))
    assert found(ENHANCED, buzz) >= 0.98 * usual > 1.1 * found(PLAIN, buzz)


def digital(bits: int, samples: Floats) -> Floats:
    """As a converter of so many bits gives it."""
    scale = 2 ** (bits - 1)
    return np.asarray(np.round(samples * scale) / scale, np.float32)


@pytest.mark.parametrize("level", range(-100, 0, 15))
def test_noise_is_no_speech_at_any_level(level: int) -> None:
    for sound in (white(60), pink(60), hum(60), hum(60, 60), rumble(60), np.zeros(60 * RATE)):
        samples = to(level, sound) if sound.any() else sound.astype(np.float32)
        for heard in (samples, digital(16, samples), digital(16, samples) + np.float32(0.01)):
            assert found(ENHANCED, heard) == 0


@pytest.mark.parametrize("level", [-90, -60, -30])
def test_clicks_are_no_speech(level: int) -> None:
    """Of keys, of a relay, of a broken cable: one to four a second, in quiet noise."""
    rng = np.random.default_rng(4)
    samples = to(-100, white(60))
    for _ in range(150):
        at, length = int(rng.integers(0, 59 * RATE)), int(rng.integers(2, 200))
        decay = np.exp(-np.arange(length) / (length / 5))
        samples[at : at + length] += 10 ** (level / 20) * decay * rng.uniform(-1, 1, length)
    assert found(ENHANCED, samples) <= 2


@pytest.mark.parametrize("quiet", [-50, -60])
def test_a_weak_voice_after_a_loud_one(voice: Floats, usual: int, quiet: int) -> None:
    """The gain takes its time, so that no pause is amplified: 6 dB a second."""
    pause = 10 * RATE // WINDOW * WINDOW
    noise = to(-85, white(2 * len(voice) / RATE + 11))
    samples = np.concatenate([peak(-6, voice), np.zeros(pause, np.float32), peak(quiet, voice)])
    samples += noise[: len(samples)]
    second = len(voice) + pause
    assert found(ENHANCED, samples, second) >= 0.95 * usual
    assert found(PLAIN, samples, second) < 0.9 * usual
    # And a loud one after it is found from its first window as ever.
    assert found(ENHANCED, np.concatenate([samples[second:], peak(-6, voice)]), len(voice)) >= (
        0.98 * usual
    )


def test_pieces_make_no_difference(voice: Floats) -> None:
    rng = np.random.default_rng(6)
    samples = np.concatenate([peak(-70, voice), peak(-10, voice) + np.float32(0.05)])
    expected = np.asarray(ENHANCED.probabilities(samples))
    vad, pieces, at = VADProcessor(hearing="enhanced"), [], 0
    while at < len(samples):
        length = int(rng.integers(1, 20_000))
        pieces.append(np.asarray(vad.probabilities(samples[at : at + length], resume=True)))
        at += length
    together = np.concatenate(pieces)
    assert len(together) == len(expected) == len(samples) // WINDOW
    assert np.max(np.abs(together - expected)) < 1e-4


def test_ordinary_speech_is_found_as_by_the_network_alone(voice: Floats) -> None:
    """With pauses in the noise of a room: between utterances nothing, in them no less."""
    parts, truth = [], []
    for n, part in enumerate(np.array_split(voice, 12)):
        windows = part[: len(part) // WINDOW * WINDOW].reshape(-1, WINDOW)
        loud = np.sqrt(np.mean(windows**2, axis=1))
        pause = [0.0] * (RATE * (1 + n % 4) // WINDOW)
        parts += [peak(-6 - 2 * n, windows.ravel()), np.zeros(len(pause) * WINDOW, np.float32)]
        # 1 in the middle of words, 0.1 in between.
        truth += [*np.where(loud > 0.05 * loud.max(), 1.0, 0.1), 0.1, 0.1, 0.1, *pause[3:]]
    samples = np.concatenate(parts)
    samples += to(-60, pink(len(samples) / RATE)[: len(samples)])
    label = np.array(truth)

    def area(vad: VADProcessor) -> float:
        """Under the curve: how often a window of speech gets more than one without."""
        p = np.asarray(vad.probabilities(samples))
        speech, silence = p[label == 1], p[label == 0]
        return float(np.mean(speech[:, None] > silence[None, :]))

    assert area(PLAIN) > 0.97
    assert area(ENHANCED) >= area(PLAIN) - 0.001
