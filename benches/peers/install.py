"""Installs the peers: each from its registry by a pinned version, into a place of its own
under target/peers. What can't be installed is told with its reason."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "benches/peers"
PLACE = ROOT / "target/peers"
NUMPY = "numpy==2.4.6"
PINNED = {
    "sounddevice": ["sounddevice==0.5.6", NUMPY],
    "PyAudio": ["PyAudio==0.2.14"],
    "soundcard": ["soundcard==0.4.6", NUMPY],
    "decibri": ["decibri==0.13.0"],
    "JACK-Client": ["JACK-Client==0.5.7", "soxr==1.1.0", NUMPY],
}
CPAL = PLACE / "cpal/release/with-cpal"
TIMEOUT_S = 900


@dataclass
class Installed:
    """Where a peer is, or why it is not."""

    program: Path | None = None
    missing: str | None = None


@functools.cache
def python_package(name: str) -> Installed:
    """A virtual environment with the package; its interpreter."""
    venv = PLACE / name
    wanted = PINNED[name]
    stamp = venv / ".installed"
    python = venv / "bin/python"
    if stamp.exists() and stamp.read_text().split() == wanted:
        return Installed(program=python)
    say(f"installing {wanted[0]} into {venv.relative_to(ROOT)}")
    shutil.rmtree(venv, ignore_errors=True)
    commands = ([sys.executable, "-m", "venv", venv], [python, "-m", "pip", "install", *wanted])
    for command in commands:
        if (why := failure([str(word) for word in command])) is not None:
            return Installed(missing=f"can't be installed: {why}")
    stamp.write_text("\n".join(wanted))
    return Installed(program=python)


@functools.cache
def cpal() -> Installed:
    """The receiver by cpal, built."""
    say("building the receiver by cpal")
    manifest = HERE / "cpal/Cargo.toml"
    why = failure(
        ["cargo", "build", "--release", "--locked", "--manifest-path", str(manifest)],
        CARGO_TARGET_DIR=str(PLACE / "cpal"),
    )
    if why is not None:
        return Installed(missing=f"can't be built: {why}")
    return Installed(program=CPAL)


@functools.cache
def command(name: str, package: str) -> Installed:
    """A program of the distribution's."""
    path = shutil.which(name)
    if path is None:
        return Installed(missing=f"{name} is not installed (package {package})")
    return Installed(program=Path(path))


@functools.cache
def gstreamer() -> Installed:
    """The distribution's Python, if it has PyGObject and GStreamer has PipeWire's elements."""
    python = Path("/usr/bin/python3")
    elements = "from gi.repository import Gst; Gst.init(None); Gst.parse_launch('pipewiresrc')"
    program = f"import gi; gi.require_version('Gst', '1.0'); {elements}"
    if failure([str(python), "-c", program]) is not None:
        packages = "python3-gi, gir1.2-gst-plugins-base-1.0, gstreamer1.0-pipewire"
        return Installed(missing=f"pipewiresrc is not installed (packages {packages})")
    return Installed(program=python)


def failure(command: list[str], **env: str) -> str | None:
    """Runs a command; the last thing it said if it failed."""
    try:
        done = subprocess.run(
            command,
            env=os.environ | env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no reason given"])[-1][:200]


def say(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)
