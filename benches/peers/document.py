"""Reports of `v2m-engine bench latency` as Markdown, docs/benchmarks.md, and what README quotes."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

Report = dict[str, Any]

# Names of receivers, as crates/bench/src/receiver.rs has them.
PLAIN = "reader, other process"
SYNC = "Python, sync"
ASYNCIO = "Python, asyncio"
UVLOOP = "Python, asyncio on uvloop"
FLOOR = "asyncio's floor"
IN_C = "C"
RING = "ring (written)"
SYNC_REMEDY = "Python, sync, switch_interval"
# Peers, as receivers.py has them.
JACK = "JACK-Client"
CPAL = "cpal"
# Streams: what speech software asks for, and what graphs run at.
SPEECH, GRAPH = 16_000, 48_000

# README's lines between these two are those of the last run.
BEGIN, END = "<!-- measured: -->", "<!-- :measured -->"


def ms(microseconds: float) -> str:
    value = microseconds / 1000
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def against(ratio: float) -> str:
    """Where something of so many times the other's latency stands."""
    distance = round(abs(1 - ratio) * 100)
    return "level" if distance == 0 else f"{'ahead' if ratio < 1 else 'behind'} by {distance} %"


def percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def title(row: dict[str, Any]) -> str:
    return f"{row['name']} ({row['form']})" if row["form"] else str(row["name"])


def table(report: Report) -> str:
    """Heading and one line for each receiver: ours first, the others by their median."""
    rows = [row for row in report["receivers"] if row["received"]]
    ours = [row for row in rows if row["ours"]]
    others = sorted((r for r in rows if not r["ours"]), key=lambda r: r["latency"]["p50"])
    lines = [
        f"{heading(report)}\n",
        "| receiver | kHz | p50 ms | p95 | p99 | max | jitter | impulses | lost | twice | CPU % |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in [*ours, *others]:
        spread = row["latency"]
        times = " | ".join(ms(spread[key]) for key in ("p50", "p95", "p99", "max", "jitter"))
        # The rate of ours has a column of its own.
        name = (row["name"] if row["ours"] else title(row)).replace("|", "\\|")
        name = f"**{name}**" if row["ours"] else name
        lines.append(
            f"| {name} | {row['rate'] / 1000:g} | {times} | {row['sent']} | {row['lost']} "
            f"| {row['duplicated']} | {row['cpu_percent']:.1f} |"
        )
    missing = [row for row in report["receivers"] if not row["received"]]
    for row in missing:
        why = f"lost all {row['sent']} impulses"
        if row["error"] or not row["sent"]:
            why = f"not measured: {row['error'] or 'it got nothing'}"
        lines.append(f"\n{title(row)}: {why}")
    return "\n".join(lines)


def heading(report: Report) -> str:
    graph, engine, injector = report["graph"], report["engine"], report["injector"]
    return (
        f"Quantum {graph['quantum']}/{graph['rate']}, PipeWire {graph['version']}, "
        f"load: {report['load']}. Audio thread: {engine['scheduling']}; the engine takes "
        f"{engine['cpu_percent']:.1f} % of a core. The injector's worst lateness was "
        f"{ms(injector['worst_lateness_us'])} ms, {injector['late_cycles']} of "
        f"{injector['cycles']} cycles were late."
    )


def machine(report: Report) -> str:
    m = report["machine"]
    date = time.strftime("%Y-%m-%d", time.gmtime(m["unix_time"]))
    return (
        f"Measured on {date} on {m['cores']} x {m['cpu']}, Linux {m['kernel']}, load average "
        f"{m['load_average']:.2f} at the start, v2m-engine {report['version']}."
    )


def targets(report: Report) -> str:
    lines = ["| aim | measured | at most | |", "|---|--:|--:|---|"]
    # What must not happen at all, each receiver has a line of; where it didn't, one will do.
    never = [target for target in report["targets"] if not target["limit"]]
    quiet = never if all(target["met"] for target in never) else []
    for target in report["targets"]:
        if target in quiet:
            continue
        if target["limit"]:
            met = against(target["value"] / target["limit"])
        else:
            met = "met" if target["met"] else "not met"
        met = met if target["met"] else f"**{met}**"
        value = f"{target['value']:.2f}"
        if target["quartiles"]:
            low, high = target["quartiles"]
            value += f" ({low:.2f} to {high:.2f})"
        lines.append(f"| {target['what']} | {value} | {target['limit']:g} | {met} |")
    if quiet:
        what = quiet[0]["what"].split(": ")[-1]
        lines.append(f"| each of the engine's receivers: {what} | 0 | 0 | met |")
    return "\n".join(lines)


def budget(report: Report) -> str:
    lines = ["| stream, kHz | step | p50 ms | p99 | max |", "|--:|---|--:|--:|--:|"]
    for step in report["budget"]:
        spread = step["spread"]
        times = " | ".join(ms(spread[key]) for key in ("p50", "p99", "max"))
        lines.append(f"| {step['rate'] / 1000:g} | {step['what']} | {times} |")
    return "\n".join(lines)


def own(report: Report, name: str, rate: int) -> dict[str, Any] | None:
    """Our row on the stream of this rate."""
    rows = (row for row in report["receivers"] if row["ours"] and row["received"])
    return next((row for row in rows if (row["name"], row["rate"]) == (name, rate)), None)


def others(report: Report, form: str) -> list[dict[str, Any]]:
    rows = report["receivers"]
    return [r for r in rows if not r["ours"] and r["received"] and r["form"] == form]


def p50(row: dict[str, Any]) -> float:
    return float(row["latency"]["p50"])


def p99(row: dict[str, Any]) -> float:
    return float(row["latency"]["p99"])


def medians(row: dict[str, Any]) -> list[float | None]:
    """Of each round; None where nothing arrived."""
    found: list[float | None] = []
    begin = 0
    for count in row["per_round"]:
        latencies = sorted(row["latencies_us"][begin : begin + count])
        found.append(latencies[math.ceil(count / 2) - 1] if latencies else None)
        begin += count
    return found


def ratio(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Of medians: that of the rounds' own, as crates/bench/src/targets.rs has it."""
    pairs = zip(medians(one), medians(other), strict=False)
    ratios = [a / b for a, b in pairs if a is not None and b is not None]
    return median(ratios) if ratios else p50(one) / p50(other)


def short(reports: dict[str, Report]) -> str:
    """What README quotes."""
    lines = [
        *beside_the_graph(reports["none"]),
        *later_cycles(reports["none"]),
        *from_capture(reports["budget"]),
        *beside_a_hog(reports["gil"]),
    ]
    return "\n".join(
        fill(line, 100, subsequent_indent="  ", break_on_hyphens=False) for line in lines
    )


def beside_the_graph(idle: Report) -> list[str]:
    """Python on a stream at the graph's own rate, and the quickest of the others."""
    sync, loop = own(idle, SYNC, GRAPH), own(idle, ASYNCIO, GRAPH)
    best = [row for row in others(idle, "best") if row["rate"] == GRAPH]
    jack = [row for row in best if row["name"] == JACK]
    cpal = sorted((row for row in best if row["name"].startswith(CPAL)), key=p99)
    peers = [*jack, *cpal[:1]]
    if not (sync and loop and peers):
        return []
    places = "; ".join(
        f"{row['name']}: {against(ratio(sync, row))} at the median, "
        f"{against(p99(sync) / p99(row))} at p99"
        for row in peers
    )
    quickest = min(p99(row) for row in peers)
    floor = own(idle, FLOOR, GRAPH)
    bare = "a task that only waits for the engine's descriptor"
    floors = f"; {bare}: {times(p99(floor) / quickest)} times" if floor else ""
    return [
        f"* A 48 kHz stream in synchronous Python ({ms(p50(sync))} ms, p99 {ms(p99(sync))}), "
        f"beside others at their best: {places}.",
        f"* Its p99 in asyncio: {times(p99(loop) / quickest)} times that of the quicker of these"
        f"{floors}.",
    ]


def later_cycles(idle: Report) -> list[str]:
    ring, sync = own(idle, RING, SPEECH), own(idle, SYNC, SPEECH)
    if not (ring and sync):
        return []
    cycle = idle["graph"]["quantum"] / idle["graph"]["rate"] * 1e6
    return [
        f"* A 16 kHz stream in synchronous Python: median {ms(p50(sync))} ms, p95 "
        f"{ms(sync['latency']['p95'])}; {percent(ring['next_cycle'] / ring['received'])} of the "
        f"impulses come with the next cycle, {ms(cycle)} ms later, because the resampler "
        f"({ring['resampler_us'] / 1000:.3f} ms) still holds them."
    ]


def from_capture(report: Report) -> list[str]:
    rows = [row for rate in (SPEECH, GRAPH) if (row := own(report, SYNC, rate))]
    each = ", ".join(
        f"{ms(row['from_capture']['p99'])} ms at {row['rate'] // 1000} kHz" for row in rows
    )
    graph = report["graph"]
    quantum = f"{graph['quantum']}/{graph['rate']}"
    return [f"* From capture to Python's hand at a quantum of {quantum}, p99: {each}."] * bool(rows)


def beside_a_hog(hog: Report) -> list[str]:
    remedy = own(hog, SYNC_REMEDY, GRAPH)
    python = [row for row in others(hog, "best") if row["python"]]
    whole = min((r for r in python if r["lost"] * 100 <= r["sent"]), key=p99, default=None)
    jack = next((row for row in python if row["name"] == JACK), None)
    if not remedy:
        return []
    peers = [row for row in (whole, jack if jack is not whole else None) if row]
    each = [
        f"{times(p99(remedy) / p99(row))} times that of {row['name']}, which lost "
        f"{percent(row['lost'] / row['sent'])}"
        for row in peers
    ]
    line = f"* Beside a GIL hog, with `switch_interval`, p99 at 48 kHz is {ms(p99(remedy))} ms"
    return [f"{line}{': ' if each else ''}{'; '.join(each)}."]


def ratios(idle: Report, hog: Report) -> str:
    """Everybody in terms of ours at the same rate."""
    lines = []
    for rate in (SPEECH, GRAPH):
        names = (PLAIN, IN_C, SYNC, ASYNCIO, FLOOR, UVLOOP)
        rows = [row for name in names if (row := own(idle, name, rate))]
        if rows and rows[0]["name"] == PLAIN:
            each = ", ".join(f"{r['name']} {p50(r) / p50(rows[0]):.2f}" for r in rows[1:])
            lines.append(f"* {rate // 1000} kHz: median of the plain reader in Rust: 1; {each}.")
    for form in ("default", "best"):
        pairs = [(row, own(idle, SYNC, row["rate"])) for row in others(idle, form)]
        each = sorted((p50(row) / p50(sync), row["name"]) for row, sync in pairs if sync)
        if each:
            listed = ", ".join(f"{name} {times(ratio)}" for ratio, name in each)
            lines.append(
                f"* Medians of others in their {form} form, in ours (sync, same rate): {listed}."
            )
    rows = others(hog, "best")
    pairs = [(row, own(hog, SYNC_REMEDY, row["rate"])) for row in rows]
    each = sorted((p99(row) / p99(remedy), row["name"]) for row, remedy in pairs if remedy)
    if each:
        listed = ", ".join(f"{name} {times(ratio)}" for ratio, name in each)
        lines.append(
            f"* Beside a GIL hog, p99 of others in ours with `switch_interval` (sync, same rate): "
            f"{listed}."
        )
    peers = [row for row in hog["receivers"] if not row["ours"]]
    losses = sorted((-r["lost"] / r["sent"], r["name"]) for r in peers if r["lost"])
    listed = ", ".join(f"{name} {percent(-share)}" for share, name in losses) or "nobody"
    ours = sum(r["lost"] - r["lost_in_gaps"] for r in hog["receivers"] if r["ours"])
    lines.append(f"* Impulses lost beside a GIL hog: ours {ours}; others: {listed}.")
    return "\n".join(lines)


def write(
    reports: dict[str, Report], scaling: str, pictures: Path, docs: Path, readme: Path
) -> None:
    """Writes benchmarks.md and the pictures in it, and what README quotes; `scaling` is what
    scaling.py printed."""
    for name in ("none", "gil"):
        shutil.copy(pictures / f"{name}.svg", docs / f"benchmarks-{name}.svg")
    quoted = short(reports)
    sections = [
        "# Benchmarks",
        "Written by `make bench-document`; don't edit. " + machine(reports["none"]),
        METHOD,
        "## In short\n\n" + quoted,
        ratios(reports["none"], reports["gil"]),
        "## Idle machine\n\n" + table(reports["none"]),
        "![latencies, idle](benchmarks-none.svg)",
        targets(reports["none"]),
        "## Beside a thread that hogs the GIL\n\nIn each Python receiver's own interpreter, at "
        "the engine's own quantum; the others in their best form.\n\n" + table(reports["gil"]),
        "![latencies, GIL hog](benchmarks-gil.svg)",
        targets(reports["gil"]),
        "## From capture to Python's hand, step by step\n\n" + heading(reports["budget"]),
        budget(reports["budget"]),
        targets(reports["budget"]),
        "## On a desktop's graph\n\n1024 unless somebody asks for less; the engine asks.\n\n"
        + table(reports["stock"]),
        budget(reports["stock"]),
        targets(reports["stock"]),
        "## Every core busy\n\n" + table(reports["cpu"]),
        targets(reports["cpu"]),
        "## More readers, sources, rates, engines\n\n"
        + SCALING
        + "\n\n```text\n"
        + scaling.strip()
        + "\n```",
    ]
    (docs / "benchmarks.md").write_text("\n\n".join(sections) + "\n")
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{quoted}\n{END}{after}")


SCALING = """\
Medians: how long the callback takes, and how long its thread wakes readers after it, when the
graph has what it waits for; eight at most, the others by a thread of their own. Engines of one
graph run at the same instant, on as many cores as there are: the kernel moves their threads from
core to core, and where the cycle before ran elsewhere a callback finds nothing in the caches.
*Sources* are those of one engine, of which one has a reader that waits; *rates* are those of one
source. *Threads* and *filters* are floors: one engine among threads that a clock wakes for nothing,
and among nodes that do nothing, in real time as engines are. So are two kinds of callbacks that are
compared as the sources' are: those of filters that only copy what they hear, which have threads
like the sources, and those of sources that take their cycles in turn on one thread, without a
graph: what eight sources cost each other beyond that, the switching between their threads costs.
CPU time and memory are those of all engines of a line."""

METHOD = """\
An injector plays coded impulses into a virtual microphone, 25 a second at random moments, and notes
when each entered the graph. Every receiver listens to the same microphone at the same quantum, one
after the other, in several turns with a process of its own in each, in rounds whose orders are
drawn: the machine's moods, of seconds to minutes, meet everybody. Those whose tails are compared
follow on one another within each round, and on an idle machine listen 3.5 times as long as the
others: a p99 of a thousand impulses has ten above it. *asyncio's floor* is a task that waits for
the engine's descriptor, with one future at a time and nothing around it: what an event loop adds,
whoever reads. How two medians compare is told round by round, and the aims have the median of these
ratios, and their quartiles in brackets; other percentiles are those of all rounds together. A
latency ends when the receiver's own code holds the samples of the impulse; the clock is read before
anything else is done with them. An impulse that the injector was late for counts as neither
received nor lost, if it isn't heard. The engine's readers get streams of 16 kHz, for which its
resampler's delay is in their numbers (those impulses that it still holds at a cycle's end come with
the next one), and of 48 kHz, the graph's own rate. *Default* of others is what a library's
documentation begins with, asked for 16 kHz mono, as speech software needs it; *best* is the graph's
own rate and a block of one quantum, without a resampler. JACK-Client and cpal at their best, which
hear the graph as directly, have as many turns as the engine's readers, the others half. JACK has no
rate but the graph's: with soxr in its callback it gives what the engine gives. decibri's wheel has
an alsa-lib of its own, which looks for PipeWire's plugin in a folder that Debian doesn't have:
without `ALSA_PLUGIN_DIR`, which is set here, it finds no microphone. module-echo-cancel is loaded
in a process of its own, without what it does besides cancelling, and heard by cpal. CPU time is
that of the receiver and its children while it listened, in percent of one core; the engine's own is
in the heading, once for any number of readers. *Ahead* and *behind* in the tables of aims are the
distance from what is aimed at, which stands beside them.
Versions are pinned in
[`benches/peers/install.py`](../benches/peers/install.py); what is not there is the distribution's.
Echo has a page of its own: [benchmarks-echo.md](benchmarks-echo.md)."""
