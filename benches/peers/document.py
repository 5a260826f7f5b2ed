"""Reports of `v2m-engine bench latency` as Markdown, and docs/benchmarks.md."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

Report = dict[str, Any]

# Names of receivers, as crates/bench/src/receiver.rs has them.
PLAIN = "reader, other process"
SYNC = "Python, sync"
ASYNCIO = "Python, asyncio"
UVLOOP = "Python, asyncio on uvloop"
SYNC_REMEDY = "Python, sync, switch_interval"


def ms(microseconds: float) -> str:
    value = microseconds / 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


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
        name = title(row).replace("|", "\\|")
        name = f"**{name}**" if row["ours"] else name
        lines.append(
            f"| {name} | {row['rate'] / 1000:g} | {times} | {row['sent']} | {row['lost']} "
            f"| {row['duplicated']} | {row['cpu_percent']:.1f} |"
        )
    missing = [row for row in report["receivers"] if not row["received"]]
    for row in missing:
        why = row["error"] or "nothing was received"
        lines.append(f"\n{title(row)}: not measured: {why}")
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
    for target in report["targets"]:
        met = "met" if target["met"] else "**not met**"
        lines.append(f"| {target['what']} | {target['value']:.2f} | {target['limit']:g} | {met} |")
    return "\n".join(lines)


def budget(report: Report) -> str:
    lines = ["| step | p50 ms | p99 | max |", "|---|--:|--:|--:|"]
    for step in report["budget"]:
        spread = step["spread"]
        times = " | ".join(ms(spread[key]) for key in ("p50", "p99", "max"))
        lines.append(f"| {step['what']} | {times} |")
    return "\n".join(lines)


def ratios(idle: Report, hog: Report) -> str:
    """What the README may quote: how many times as long as ours the others take."""

    def row(report: Report, name: str) -> dict[str, Any] | None:
        rows = report["receivers"]
        return next((r for r in rows if r["name"] == name and r["received"]), None)

    lines = []
    sync, loop, plain = row(idle, SYNC), row(idle, ASYNCIO), row(idle, PLAIN)
    fast = row(idle, UVLOOP)
    if sync and plain and loop:
        floor = plain["latency"]["p50"]
        lines.append(
            f"* Median of the plain reader in Rust: 1; synchronous Python "
            f"{sync['latency']['p50'] / floor:.2f}, asyncio {loop['latency']['p50'] / floor:.2f}"
            + (f", asyncio on uvloop {fast['latency']['p50'] / floor:.2f}." if fast else ".")
        )
    for form in ("default", "best"):
        rows = [r for r in idle["receivers"] if r["form"] == form and r["received"]]
        if sync and rows:
            each = sorted((r["latency"]["p50"] / sync["latency"]["p50"], r["name"]) for r in rows)
            listed = ", ".join(f"{name} {times(ratio)}" for ratio, name in each)
            lines.append(f"* Medians of others in their {form} form, in ours (sync): {listed}.")
    remedy = row(hog, SYNC_REMEDY)
    others = [r for r in hog["receivers"] if not r["ours"] and r["received"]]
    if remedy and others:
        each = sorted((r["latency"]["p99"] / remedy["latency"]["p99"], r["name"]) for r in others)
        listed = ", ".join(f"{name} {times(ratio)}" for ratio, name in each)
        lines.append(f"* Beside a GIL hog, p99 of others in ours with `switch_interval`: {listed}.")
        losses = sorted((-r["lost"] / max(r["sent"], 1), r["name"]) for r in others if r["lost"])
        listed = ", ".join(f"{name} {-share:.1%}" for share, name in losses) or "nobody"
        ours = sum(r["lost"] - r["lost_in_gaps"] for r in hog["receivers"] if r["ours"])
        lines.append(f"* Impulses lost beside a GIL hog: ours {ours}; others: {listed}.")
    return "\n".join(lines)


def write(reports: dict[str, Report], scaling: str, pictures: Path, docs: Path) -> None:
    """Writes benchmarks.md and the pictures in it; `scaling` is what scaling.py printed."""
    for name in ("none", "gil"):
        shutil.copy(pictures / f"{name}.svg", docs / f"benchmarks-{name}.svg")
    sections = [
        "# Benchmarks",
        "Written by `make bench-document`; don't edit. " + machine(reports["none"]),
        METHOD,
        "## In short\n\n" + ratios(reports["none"], reports["gil"]),
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
        "## More readers, more engines\n\n" + SCALING + "\n\n```text\n" + scaling.strip() + "\n```",
    ]
    (docs / "benchmarks.md").write_text("\n\n".join(sections) + "\n")


SCALING = """\
Medians: how long the callback takes, and how long its thread wakes readers after it, when the
graph has what it waits for; eight at most, the others by a thread of their own. Engines of one
graph run at the same instant, on as many cores as there are: the kernel moves their threads from
core to core, and where the cycle before ran elsewhere a callback finds nothing in the caches.
*Sources* are those of one engine, of which one has a reader that waits; *rates* are those of one
source. *Threads* and *filters* are floors: one engine among threads that a clock wakes for nothing,
and among nodes that do nothing, in real time as engines are. CPU time and memory are those of all
engines of a line."""

METHOD = """\
An injector plays coded impulses into a virtual microphone, 25 a second at random moments, and
notes when each entered the graph. Every receiver listens to the same microphone at the same
quantum, one after the other; each has ten turns (five beside the GIL hog), with a process of
its own in each, in rounds whose orders are drawn: the machine's moods, of seconds to minutes,
meet everybody. A latency ends when the receiver's own code holds the samples of the impulse;
the clock is read before anything else is done with them. *Default* is what a library's
documentation begins with, asked for 16 kHz mono, as speech software needs it; *best* is the
graph's own rate and a block of one quantum, without a resampler. JACK has no rate but the
graph's: with soxr in its callback it gives what the engine gives. The engine's readers get 16
kHz; its resampler's 0.13 ms are in their numbers, as one cycle more for those impulses that
come in the last 0.13 ms of a cycle. CPU time is that of the receiver and its children while it
listened, in percent of one core; the engine's own is in the heading, once for any number of
readers. Versions are pinned in [`benches/peers/install.py`](../benches/peers/install.py).
Echo has a page of its own: [benchmarks-echo.md](benchmarks-echo.md)."""
