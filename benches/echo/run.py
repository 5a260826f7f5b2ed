"""Echo taken off by the engine, by PipeWire's module-echo-cancel, and by nobody, in the same rooms.

    python benches/echo/run.py [--document] [--minutes 10] [--rooms 11]

Loudspeaker, rooms and the talker beside it are made and read by `rooms.py`, at 48 kHz. PipeWire's
canceller is the plugin that its module runs, fed as the module feeds it, both sides aligned to the
sample; so is the engine's. Prints tables; `--document` also writes docs/benchmarks-echo.md and its
picture.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from cancellers import Canceller, build, cpu_s, with_options
from document import Report, write
from pocketsphinx import Decoder
from rooms import LEVEL, RATE, ROOMS, Room, far_end, near_end, noise, resample

from rig.sounds import pink, to
from v2m_engine import VADProcessor

#: Of the far end alone, in each room.
SECONDS = 20
#: What the far end has said before the near end begins.
LEAD = 4.0
#: Far ends that the near end is heard beside, one after the other: what a recogniser finds varies
#: from one to the next by 10 %, as chance has it where they meet.
TAKES = 6
VAD = VADProcessor()
SPEECH = 16_000


def decibels(before: Any, after: Any) -> float:
    """By how much it became softer; 100 at most."""
    power = lambda x: float(np.mean(np.square(x, dtype=np.float64)))  # noqa: E731
    return min(100.0, 10 * np.log10(power(before) / (power(after) + 1e-14)))


def starts(samples: Any) -> list[float]:
    """Where speech begins, in seconds, as the engine finds it."""
    heard = resample(samples[: len(samples) // 6 * 6], RATE, SPEECH).astype(np.float32)
    return [found["start"] / SPEECH for found in VAD.speech_timestamps(heard)]


def words(samples: Any, told: list[tuple[int, int, str]]) -> int:
    """How many of the near end's words are recognised."""
    found = 0
    # One pass: the others find no more words of these and take thrice the time.
    decoder = Decoder(
        samprate=SPEECH, loglevel="FATAL", maxhmmpf=3000, fwdflat=False, bestpath=False
    )
    for begin, end, said in told:
        piece = resample(samples[begin : begin + (end - begin) // 6 * 6], RATE, SPEECH)
        decoder.start_utt()
        pcm = (np.clip(piece, -1, 1) * 32767).astype(np.int16)
        decoder.process_raw(pcm.tobytes(), full_utt=True)
        decoder.end_utt()
        heard = decoder.hyp().hypstr.split() if decoder.hyp() else []
        match = difflib.SequenceMatcher(None, said.split(), heard, autojunk=False)
        found += sum(block.size for block in match.get_matching_blocks())
    return found


def lag(before: Any, after: Any, most: int = RATE // 20) -> int:
    """By how many samples the second comes later."""
    length = 1 << (len(before) + most).bit_length()
    product = np.fft.rfft(after, length) * np.conj(np.fft.rfft(before, length))
    return int(np.argmax(np.fft.irfft(product, length)[:most]))


def likeness(voice: Any, heard: Any, told: list[tuple[int, int, str]]) -> float:
    """Correlation of what is heard with a voice where it speaks, delay aside."""
    length = min(len(voice), len(heard))
    late = lag(voice[:length], heard[:length])
    there = np.zeros(length, np.bool_)
    for begin, end, _ in told:
        there[begin:end] = True
    a, b = (
        voice[: length - late][there[: length - late]],
        heard[late:length][there[: length - late]],
    )
    return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


def missed(found: list[float], told: list[tuple[int, int, str]]) -> int:
    """Sentences of the near end at whose beginning no speech is heard: none of what is found
    begins from 0.3 s before to 0.7 s after it."""
    begins = (begin / RATE for begin, _, _ in told)
    return sum(not any(-0.3 <= at - begin <= 0.7 for at in found) for begin in begins)


def far_alone(room: Room, cancel: Canceller) -> dict[str, Any]:
    far = far_end(SECONDS, room.seed)
    near = room.echo(far) + noise(len(far))
    left = cancel(near, far)
    near, second = near[: len(left)], RATE
    parts = [(0, second), (second, 2 * second), (2 * second, len(left))]
    return {
        "erle": [decibels(near[a:b], left[a:b]) for a, b in parts],
        "curve": [
            decibels(near[at : at + second // 2], left[at : at + second // 2])
            for at in range(0, len(left) - second // 2, second // 2)
        ],
    }


def both(room: Room, cancel: Canceller) -> dict[str, Any]:
    """Means of all takes; beginnings that are missed in any of them are summed up."""
    voice, told = near_end(LEAD)
    takes = []
    for take in range(1, TAKES + 1):
        far = far_end(len(voice) / RATE, room.seed + 100 * take)
        heard = cancel(voice + room.echo(far) + noise(len(far)), far)
        takes.append(
            (words(heard, told), likeness(voice, heard, told), missed(starts(heard), told))
        )
    found, like, without = zip(*takes, strict=True)
    return {"words": mean(found), "likeness": mean(like), "missed": sum(without)}


def near_alone(cancel: Canceller) -> dict[str, Any]:
    voice, told = near_end(LEAD)
    near = voice + noise(len(voice))
    heard = cancel(near, np.zeros(len(near), np.float32))
    return {
        "likeness": likeness(near, heard, told),
        "words": words(heard, told),
        "delay_ms": 1000 * lag(near[: len(heard)], heard) / RATE,
    }


def recognised(cancel: Canceller) -> dict[str, float]:
    """Words found of the near end alone, in a room's noise, and beside the far end."""
    voice, told = near_end(LEAD)
    silent = np.zeros(len(voice), np.float32)
    rumour = to(LEVEL - 15, resample(pink(len(voice) / RATE + 1), SPEECH, RATE)[: len(voice)])
    microphones = {
        "alone": (voice + noise(len(voice)), silent),
        "in noise": (voice + rumour, silent),
    }
    found: dict[str, float] = {
        what: words(cancel(*sides), told) for what, sides in microphones.items()
    }
    return found | {"beside the loudspeaker": both(ROOMS[2], cancel)["words"]}


def false_starts(cancel: Canceller, minutes: float) -> int:
    """In the living room, at equal loudness; pauses are long enough for each sentence to be a
    start of its own."""
    far = far_end(minutes * 60, 77, (0.8, 2.5))
    near = ROOMS[2].echo(far) + noise(len(far))
    return len(starts(cancel(near, far)))


def measure(report: Report, cancellers: dict[str, Canceller], rooms: tuple[Room, ...]) -> None:
    """All but the CPU time, on all CPUs."""
    with ProcessPoolExecutor() as pool:
        alone = {name: pool.submit(near_alone, cancel) for name, cancel in cancellers.items()}
        false = {
            name: pool.submit(false_starts, cancel, report.minutes)
            for name, cancel in cancellers.items()
        }
        by_option = {name: pool.submit(recognised, c) for name, c in with_options().items()}
        in_rooms = {
            room: {name: pool.submit(in_room, room, cancel) for name, cancel in cancellers.items()}
            for room in rooms
        }
        report.alone = {name: found.result() for name, found in alone.items()}
        report.false_starts = {name: found.result() for name, found in false.items()}
        report.options = {name: found.result() for name, found in by_option.items()}
        for room, by_name in in_rooms.items():
            report.rooms[room] = {name: found.result() for name, found in by_name.items()}
            print(f"{room.name}: done", file=sys.stderr)


def in_room(room: Room, cancel: Canceller) -> dict[str, Any]:
    return far_alone(room, cancel) | both(room, cancel)


def main() -> None:
    """Measures, prints, and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--document", action="store_true", help="write docs/benchmarks-echo.md")
    parser.add_argument("--minutes", type=float, default=10, help="of far end for false starts")
    parser.add_argument("--rooms", type=int, default=len(ROOMS), help="the first so many of them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        cancellers = build(Path(place))
        told = near_end(0)[1]
        spoken = sum(len(sentence.split()) for _, _, sentence in told)
        report = Report(options.minutes, TAKES, TAKES * len(told), spoken)
        measure(report, cancellers, ROOMS[: options.rooms])
        far = far_end(60)
        near = ROOMS[2].echo(far) + noise(len(far))
        for name, cancel in cancellers.items():
            costs = [cpu_s(cancel, near, far) for _ in range(5)]
            report.cpu_percent[name] = max(0.0, median(costs) / 60 * 100)
    print(report.text())
    if options.document:
        write(report)


if __name__ == "__main__":
    main()
