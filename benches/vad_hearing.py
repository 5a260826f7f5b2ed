"""What speech detection finds that Silero alone doesn't, and what it finds by mistake.

    python benches/vad_hearing.py

Prints tables in Markdown: a voice after half a minute, five and ten minutes of silence, noise,
babble and music, at three levels; at every level from 0 to -80 dBFS; with DC, rumble and hum; and
ordinary dictation with its area under the ROC curve. "Plain" is Silero (`hearing="plain"`, which
the tests prove equal to it), beside it the engine's way of hearing.

Speech is what is installed (pocketsphinx-testdata's readers, espeak-ng's voices) and, like the
recorded music, what Debian's packages hold: Asterisk's prompts in three languages and its music on
hold, which are downloaded and not installed; without them there is less of both.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rig.sounds import RATE, babble, hum, peak, pink, rumble, strings, to, white
from rig.vad_reference import speech
from v2m_engine import VADProcessor

PLACE = Path(__file__).resolve().parent.parent / "target/bench/hearing"
WINDOW = 512
PACKAGES = [f"asterisk-core-sounds-{language}-g722" for language in ("en", "fr", "ru")]
PACKAGES.append("asterisk-moh-opsound-g722")
HEARING = {name: VADProcessor(hearing=name) for name in ("plain", "enhanced")}
#: Longest time before the voice.
MINUTES = 10


def whole(samples: Any) -> Any:
    """Without what fills no window."""
    return np.asarray(samples[: len(samples) // WINDOW * WINDOW], np.float32)


def judge(samples: Any) -> dict[str, Any]:
    return {name: np.asarray(vad.probabilities(samples)) for name, vad in HEARING.items()}


def downloaded() -> dict[str, Any]:
    """Recordings of the packages by file, at 16 kHz; none where there is no apt."""
    if not shutil.which("apt-get"):
        return {}
    import av

    PLACE.mkdir(parents=True, exist_ok=True)
    if not any(PLACE.rglob("*.g722")):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as own:
            command = ["apt-get", "-q", "download", *PACKAGES]
            done = subprocess.run(command, cwd=own, capture_output=True, text=True, check=False)
            for package in Path(own).glob("*.deb"):
                subprocess.run(["dpkg", "-x", package, PLACE], check=True)
            if done.returncode != 0:
                print(f"(not downloaded: {done.stderr.strip().splitlines()[-1]})", file=sys.stderr)
    found = {}
    for path in sorted(PLACE.rglob("*.g722")):
        # Less than two seconds; and what is no voice.
        if path.stat().st_size < 16_000 or path.stem == "tt-monkeys" or "silence" in path.parts:
            continue
        with av.open(str(path), format="g722") as file:
            parts = [frame.to_ndarray().ravel() for frame in file.decode(audio=0)]
        found[f"{path.parent.name}/{path.stem}"] = np.concatenate(parts) / np.float32(32768)
    return found


def label(voice: Any) -> Any:
    """True for the windows of a clean voice that are in words: within 25 dB of the loudest."""
    loud = np.sqrt(np.mean(np.square(voice.reshape(-1, WINDOW), dtype=np.float64), axis=1))
    return loud > 0.056 * loud.max()


def area(probabilities: Any, truth: Any) -> float:
    """Under the ROC curve: how often a window of speech gets more than one without."""
    speech, other = probabilities[truth == 1], np.sort(probabilities[truth == 0])
    below, upto = np.searchsorted(other, speech), np.searchsorted(other, speech, "right")
    return float(np.mean(below + upto) / 2 / len(other))


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def table(*heads: str) -> None:
    print()
    row(*heads)
    row(*["---"] * len(heads))


def both(shares: dict[str, float]) -> str:
    return " / ".join(f"{100 * shares[name]:.0f}" for name in HEARING)


def after_other_sounds(voices: list[Any], sounds: dict[str, Any]) -> None:
    """The voices at -30 dBFS, the sound going on beneath."""
    print(
        "\n% of the words' windows found, plain / enhanced, when the voice sets in after so long;"
        "\nwindows per hour found in the sound alone"
    )
    table("before and beneath", "voice above it", "at once", "30 s", "5 min", "10 min", "false")
    times = [0, 30, 300, 60 * MINUTES]
    for name, sound in sounds.items():
        for above in [None] if name == "silence" else [10, 0, -5]:
            bed = sound if above is None else to(-30 - above, sound)
            cells = []
            for seconds in times:
                before = seconds * RATE // WINDOW * WINDOW
                hits: dict[str, list[float]] = {key: [] for key in HEARING}
                for voice in voices:
                    # What comes last is the same sound whatever went before.
                    samples = bed[len(bed) - len(voice) - before :].copy()
                    samples[before:] += to(-30, voice)
                    for key, p in judge(samples).items():
                        hits[key].append(float(np.mean(p[before // WINDOW :][label(voice)] >= 0.5)))
                cells.append(both({key: float(np.mean(all)) for key, all in hits.items()}))
            alone = {key: np.sum(p >= 0.5) for key, p in judge(bed).items()}
            hours = len(bed) / RATE / 3600
            false = " / ".join(f"{count / hours:.0f}" for count in alone.values())
            row(name, "" if above is None else f"{above:+} dB", *cells, false)


def levels(voices: list[Any]) -> None:
    print("\n% of the words' windows found, plain / enhanced, by the voice's peak in dBFS")
    steps = list(range(0, -81, -10))
    table("with", *(str(level) for level in steps))
    length = max(map(len, voices)) / RATE
    beneath = {
        "nothing": np.zeros(int(length * RATE)),
        "DC of 0.07": np.full(int(length * RATE), 0.07),
        "DC of -0.5": np.full(int(length * RATE), -0.5),
        "rumble of -30 dBFS": to(-30, rumble(length)),
        "hum of -40 dBFS (50 Hz)": to(-40, hum(length)),
        "hum of -40 dBFS (60 Hz)": to(-40, hum(length, 60)),
        "white noise of -80 dBFS": to(-80, white(length)),
    }
    for name, sound in beneath.items():
        cells = []
        for level in steps:
            hits: dict[str, list[float]] = {key: [] for key in HEARING}
            for voice in voices:
                samples = peak(level, voice) + sound[: len(voice)].astype(np.float32)
                for key, p in judge(samples).items():
                    hits[key].append(float(np.mean(p[label(voice)] >= 0.5)))
            cells.append(both({key: float(np.mean(all)) for key, all in hits.items()}))
        row(name, *cells)


def ordinary(utterances: list[Any], minutes: int, gain: float, seed: int) -> tuple[Any, Any]:
    """Dictation with its labels: 1 in words, 0 in pauses, -1 where it can't be said."""
    rng = np.random.default_rng(seed)
    parts, truth = [], []
    while sum(map(len, parts)) < minutes * 60 * RATE:
        voice = peak(0, whole(utterances[int(rng.integers(len(utterances)))]))
        words = np.where(label(voice), 1, -1)
        pause = int(rng.integers(RATE // 2, 4 * RATE)) // WINDOW
        part = np.concatenate([voice, np.zeros(pause * WINDOW, np.float32)])
        noise = white if rng.random() < 0.5 else pink
        beneath = 20 * np.log10(np.sqrt(np.mean(voice**2))) - rng.uniform(5, 50)
        part += to(beneath, noise(len(part) / RATE + 1, int(rng.integers(1 << 30))))[: len(part)]
        parts.append(peak(gain - rng.uniform(1, 35), part))
        truth += [*words, *[-1] * 6, *[0] * (pause - 6)]
    return np.concatenate(parts), np.array(truth)


def dictation(utterances: list[Any]) -> None:
    print("\nOrdinary dictation, peaks from -36 to -1 dBFS in noise 5 to 50 dB below the voice")
    table("hearing", "area under the ROC curve", "% of words' windows", "false per hour of pauses")
    found: dict[str, list[Any]] = {name: [] for name in HEARING}
    truths = []
    for seed in range(8):
        samples, truth = ordinary(utterances, 8, 0, seed)
        truths.append(truth)
        for name, p in judge(samples).items():
            found[name].append(p)
    truth = np.concatenate(truths)
    hours = np.sum(truth == 0) * WINDOW / RATE / 3600
    for name, all in found.items():
        p = np.concatenate(all)
        hits, false = np.mean(p[truth == 1] >= 0.5), np.sum(p[truth == 0] >= 0.5)
        row(name, f"{area(p, truth):.4f}", f"{100 * hits:.1f}", f"{false / hours:.0f}")


def noises() -> None:
    print("\nWindows per hour found in noise alone, plain / enhanced, by its level in dBFS")
    steps = [-10, -30, -50, -70, -90]
    table("noise", *(str(level) for level in steps))
    kinds = {
        "white": white(600),
        "pink": pink(600),
        "hum (50 Hz)": hum(600),
        "hum (60 Hz)": hum(600, 60),
        "rumble": rumble(600),
    }
    for name, noise in kinds.items():
        cells = []
        for level in steps:
            # As a converter of 16 bits gives it, which is another sound at -90.
            samples = np.round(to(level, noise) * 32768) / np.float32(32768)
            alone = judge(samples.astype(np.float32))
            cells.append(" / ".join(f"{6 * np.sum(p >= 0.5):.0f}" for p in alone.values()))
        row(name, *cells)


def main() -> None:
    packages = downloaded()
    recorded = {name: x for name, x in packages.items() if name.split("/")[0] != "moh"}
    music = {name: x for name, x in packages.items() if name.startswith("moh/")}
    utterances = [x for x in speech() if len(x) > RATE] + list(recorded.values())
    print(f"{len(utterances)} recordings of speech, {len(music)} of music")

    # Three voices of 20 s: the reader, and what else there is in equal parts.
    readers = whole(np.concatenate([to(-20, x) for x in speech()[:9]])[: 20 * RATE])
    others = list(recorded.values()) or utterances
    parts = [others[n * len(others) // 40] for n in range(40)]
    rest = [np.concatenate([to(-20, x) for x in half]) for half in (parts[:20], parts[20:])]
    voices = [readers, *(whole(x[: 20 * RATE]) for x in rest)]

    length = 60 * MINUTES + 21
    sounds = {
        "silence": np.zeros(length * RATE, np.float32),
        "white noise": white(length),
        "pink noise": pink(length),
        "babble of twelve": babble(utterances, length),
        "plucked strings": strings(length),
    }
    for name, x in music.items():
        sounds[name.split("/")[1].replace("_", " ")] = np.tile(x, length * RATE // len(x) + 1)[
            : length * RATE
        ]
    after_other_sounds(voices, sounds)
    levels(voices)
    noises()
    dictation(utterances)


if __name__ == "__main__":
    main()
