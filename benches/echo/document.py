"""What was measured as Markdown and as a picture: docs/benchmarks-echo.md."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rooms import Room

from rig import ROOT

PAGE = ROOT / "docs/benchmarks-echo.md"
PICTURE = ROOT / "docs/benchmarks-echo.svg"
COLOURS = {"PipeWire": "#c0504d", "PipeWire, bare": "#e0a030", "clean": "#1f6fb2"}


@dataclass
class Report:
    """One run."""

    minutes: float
    takes: int
    """Far ends beside which the near end is heard."""
    sentences: int
    """Of all takes."""
    words: int
    rooms: dict[Room, dict[str, dict[str, Any]]] = field(default_factory=dict)
    alone: dict[str, dict[str, Any]] = field(default_factory=dict)
    false_starts: dict[str, int] = field(default_factory=dict)
    cpu_percent: dict[str, float] = field(default_factory=dict)
    options: dict[str, dict[str, float]] = field(default_factory=dict)

    def names(self) -> list[str]:
        return list(self.alone)

    def of(self, room: Room, name: str, what: str) -> Any:
        return self.rooms[room][name][what]

    def text(self) -> str:
        """The tables."""
        return "\n".join(
            [
                *self.in_short(),
                "",
                *self.echo(),
                "",
                *self.double_talk(),
                "",
                *self.rest(),
                "",
                *self.words_found(),
            ]
        )

    def in_short(self) -> list[str]:
        """How often the aims are met."""
        of = f"of {len(self.rooms)} rooms"

        def off(name: str) -> dict[Room, float]:
            return {room: float(self.of(room, name, "erle")[2]) for room in self.rooms}

        def where(is_met: dict[Room, bool]) -> str:
            missed = [room.name for room, met in is_met.items() if not met]
            # Where it is the exception, by name.
            few = 0 < len(missed) < len(is_met) / 2
            but = f" (not: {'; '.join(missed)})" if few else ""
            return f"in {len(is_met) - len(missed)} {of}{but}"

        clean = off("clean")
        lines = [
            "`clean` takes off at least 30 dB after two seconds "
            f"{where({room: db >= 30 for room, db in clean.items()})}."
        ]
        for name in self.names():
            if name in ("none", "clean"):
                continue
            more = {room: clean[room] >= db + 3 for room, db in off(name).items()}
            lines.append(f"It takes off at least 3 dB more than {name} {where(more)}.")
        alone = self.alone["none"]["words"]
        kept = []
        for name in self.names():
            found = [self.of(room, name, "words") for room in self.rooms]
            enough = sum(words >= 0.8 * alone for words in found)
            kept.append(f"{name} in {enough} {of} (median {median(found):.0f} of {alone} words)")
        lines.append(
            "Beside a loudspeaker a recogniser finds at least 80 % of the words that it finds "
            f"without: {', '.join(kept)}."
        )
        return lines

    def echo(self) -> list[str]:
        """Far end alone."""
        others = [name for name in self.names() if name != "none"]
        head = " | ".join(f"{name}: 1st s | 2nd s | after" for name in others)
        lines = [f"| room | delay, reverberation, ms | {head} |"]
        lines.append("|---|---|" + "--:|" * 3 * len(others))
        for room in self.rooms:
            cells = [f"{db:.0f}" for name in others for db in self.of(room, name, "erle")]
            where = f"{room.delay_ms:g}, {room.reverberation_ms:g}"
            lines.append(f"| {room.name} | {where} | {' | '.join(cells)} |")
        return lines

    def double_talk(self) -> list[str]:
        """Both sides at once."""
        names = self.names()
        groups = ("words", "starts missed", "likeness")
        head = " | ".join(f"{what}: {name}" for what in groups for name in names)
        lines = [f"| room | {head} |", "|---|" + "--:|" * 3 * len(names)]
        for room in self.rooms:
            cells = [f"{self.of(room, name, 'words'):.0f}" for name in names]
            cells += [f"{self.of(room, name, 'missed')}" for name in names]
            cells += [f"{self.of(room, name, 'likeness'):.2f}" for name in names]
            lines.append(f"| {room.name} | {' | '.join(cells)} |")
        return lines

    def rest(self) -> list[str]:
        """What is no matter of rooms."""
        names = self.names()
        rows: dict[str, list[str]] = {
            f"speech starts in {self.minutes:g} minutes of far end alone": [
                str(self.false_starts[name]) for name in names
            ],
            "near end alone: likeness": [f"{self.alone[n]['likeness']:.4f}" for n in names],
            f"near end alone: words of {self.words}": [str(self.alone[n]["words"]) for n in names],
            "delay of the canceller, ms": [f"{self.alone[n]['delay_ms']:.1f}" for n in names],
            "CPU, % of a core": [f"{self.cpu_percent[n]:.2f}" for n in names],
        }
        lines = [f"| | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
        return lines + [f"| {what} | {' | '.join(cells)} |" for what, cells in rows.items()]

    def words_found(self) -> list[str]:
        """Under each of the engine's options."""
        places = list(next(iter(self.options.values())))
        lines = [f"| `[clean]` | {' | '.join(places)} |", "|---|" + "--:|" * len(places)]
        for name, found in self.options.items():
            lines.append(f"| {name} | {' | '.join(f'{found[place]:.0f}' for place in places)} |")
        return lines


def cpu() -> str:
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else f"{os.cpu_count()} CPUs"


def write(report: Report) -> None:
    """The page and its picture."""
    parts = (report.echo(), report.double_talk(), report.rest(), report.words_found())
    echo, talk, rest, options = ("\n".join(part) for part in parts)
    bullets = "\n".join(f"* {line}" for line in report.in_short())
    PAGE.write_text(
        f"""# Benchmarks: echo

Written by `make bench-echo`; don't edit. Measured on {time.strftime("%Y-%m-%d")} on {cpu()}.

A loudspeaker speaks in a room, beside it somebody reads; `clean` takes the one off the other, and
so does PipeWire's module-echo-cancel (the plugin that it runs, with its defaults, fed 10 ms at a
time as the module does). The module also suppresses noise, sets the level and cuts what is low;
*bare* is the same without these, as `clean` is by default; *none* is the microphone as it is. All
of them get the same samples, at 48 kHz, both sides aligned. Loudspeaker and reader are equally loud
at the microphone unless a room says otherwise.
The loudspeaker's voices are espeak-ng's, the reader is one of LibriVox's in pocketsphinx-testdata,
rooms are made by arithmetic ([`benches/echo/rooms.py`](../benches/echo/rooms.py)). What it means,
and what to do about it, stands in [echo.md](echo.md).

## In short

{bullets}

## The loudspeaker alone

By how many dB it becomes softer in the first second, in the second, and after that.

{echo}

![dB taken off, over time](benchmarks-echo.svg)

## Both at once

How many of the reader's {report.words} words pocketsphinx finds (without a loudspeaker
{report.alone["none"]["words"]}), as the mean beside {report.takes} far ends, from one to the
next of which it varies by some five words; at how many of the {report.sentences} sentences of all
of these the engine's detector hears no beginning (from 0.3 s before to 0.7 s after it); and the
correlation of what is left with the reader's voice.

{talk}

## One at a time, and what it costs

Speech starts are those of the engine's detector in the living room. Delays are those of output
behind input, without the wait for 10 ms of it; of `clean` it is taken off here, as it is off the
engine's positions and times.

{rest}

## Noise suppression and gain

How many of the reader's {report.words} words pocketsphinx finds after `clean` with each option:
alone, in pink noise 15 dB below the voice, and beside the loudspeaker in the living room (the
mean beside {report.takes} far ends).

{options}
"""
    )
    PICTURE.write_text(picture(report))


def picture(report: Report) -> str:
    """dB taken off half second by half second: each room thin, their median thick."""
    width, height, left, bottom, most = 720, 320, 50, 40, 70
    curves = {
        name: [report.of(room, name, "curve") for room in report.rooms]
        for name in report.names()
        if name != "none"
    }
    steps = min(len(curve) for all in curves.values() for curve in all)

    def x(step: float) -> float:
        return left + step * (width - left - 20) / (steps - 1)

    def y(db: float) -> float:
        return height - bottom - max(0.0, min(most, db)) * (height - bottom - 30) / most

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for db in range(0, most + 1, 10):
        lines.append(
            f'<path d="M{left} {y(db):.1f}H{width - 20}" stroke="#ddd"/>'
            f'<text x="{left - 8}" y="{y(db) + 4:.1f}" text-anchor="end">{db}</text>'
        )
    for step in range(0, steps, 4):
        lines.append(
            f'<text x="{x(step):.1f}" y="{height - bottom + 18}" text-anchor="middle">'
            f"{step / 2:g}</text>"
        )
    lines.append(f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">seconds</text>')
    lines.append(f'<text x="{left}" y="16">dB taken off, each room and their median</text>')
    for place, (name, all) in enumerate(curves.items()):
        middle = [median(curve[step] for curve in all) for step in range(steps)]
        for curve, style in [
            *((c, 'stroke-opacity="0.2"') for c in all),
            (middle, 'stroke-width="3"'),
        ]:
            points = " ".join(f"{x(step):.1f},{y(curve[step]):.1f}" for step in range(steps))
            lines.append(
                f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" {style}/>'
            )
        lines.append(
            f'<text x="{width - 20}" y="{16 + 16 * place}" text-anchor="end" '
            f'fill="{COLOURS[name]}">{name}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])
