"""Who takes the loudspeaker off the microphone: nobody, PipeWire's module, the engine."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rig import ROOT

PLUGIN = Path("/usr/lib/x86_64-linux-gnu/spa-0.2/aec/libspa-aec-webrtc.so")
RATE = 48_000

#: What PipeWire's does beside cancelling unless it is told not to.
ELSE = ("high_pass_filter", "noise_suppression", "gain_control")

#: Microphone and loudspeaker at 48 kHz; the microphone without it.
Canceller = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Pipe:
    """A program that takes both from standard input."""

    command: tuple[str, ...]

    def __call__(self, near: Any, far: Any) -> Any:
        pairs = np.stack([near, far], axis=1).astype(np.float32)
        done = subprocess.run(self.command, input=pairs.tobytes(), capture_output=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{self.command[0]}: {done.stderr.decode().strip()}")
        return np.frombuffer(done.stdout, np.float32)


def nobody(near: Any, _: Any) -> Any:
    """The microphone as it is."""
    return near


def ours(*options: str) -> Pipe:
    return Pipe((str(ROOT / "target/release/examples/cancel"), str(RATE), *options))


def build(place: Path) -> dict[str, Canceller]:
    """By name, in the order of the tables."""
    subprocess.run(
        ["cargo", "build", "--release", "--quiet", "-p", "v2m-echo", "--example", "cancel"],
        cwd=ROOT,
        check=True,
    )
    cancellers: dict[str, Canceller] = {"none": nobody}
    if PLUGIN.exists():
        flags = subprocess.run(
            ["pkg-config", "--cflags", "libspa-0.2"], capture_output=True, text=True, check=True
        ).stdout.split()
        source, program = ROOT / "benches/echo/plugin.c", place / "plugin"
        subprocess.run(["cc", "-O2", "-o", program, source, *flags, "-ldl"], check=True)
        command = (str(program), str(PLUGIN), str(RATE))
        cancellers["PipeWire"] = Pipe(command)
        cancellers["PipeWire, bare"] = Pipe((*command, *(f"webrtc.{key}" for key in ELSE)))
    return cancellers | {"clean": ours()}


def with_options() -> dict[str, Canceller]:
    """The engine's under each of its options."""
    options = {"noise = low": "low", "noise = high": "high", "gain = auto": "auto"}
    return {"off": ours()} | {name: ours(option) for name, option in options.items()}


def cpu_s(cancel: Canceller, near: Any, far: Any) -> float:
    """CPU time of it, pipe and start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cancel(near, far)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
