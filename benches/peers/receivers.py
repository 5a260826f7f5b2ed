"""The peers: what people use today, each in its documented default (asking for 16 kHz mono,
as speech software does, and for nothing else) and in its best low-latency form (the
graph's own rate and quantum)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from install import CPAL, HERE, Installed, command, cpal, gstreamer, python_package

LIBRARIES = (*Path("/usr/lib").glob("*-linux-gnu*"), Path("/usr/lib64"))
ALSA_PLUGINS = [place / "alsa-lib" for place in LIBRARIES]
AEC_PLUGINS = [place / "spa-0.2/aec/libspa-aec-webrtc.so" for place in LIBRARIES]

SPEECH = "16000"
GRAPH = "48000"


#: What hears the graph without anybody between: whose tails ours are compared with.
CLOSEST = ("JACK-Client", "cpal, alsa", "cpal, pipewire")


@dataclass
class Peer:
    """One receiver in one form."""

    name: str
    form: str
    # Installs it, the first time.
    program: Callable[[], Installed]
    arguments: list[str]
    python: bool = True
    env: dict[str, str] = field(default_factory=dict)
    # How far it may be behind, in seconds.
    drain_s: float = 0.5

    def spec(self, quantum: int) -> dict[str, Any]:
        """As `v2m-engine bench latency --peers` takes it."""
        installed = self.program()
        return {
            "name": self.name,
            "form": self.form,
            "python": self.python,
            "command": [str(installed.program or ""), *self.arguments],
            "env": {"PEER_QUANTUM": str(quantum)} | self.env,
            "drain_s": self.drain_s,
            # Beyond what the machine's moods move are the latencies of all but these.
            "every": 1 if self.form == "best" and self.name in CLOSEST else 2,
            "missing": installed.missing,
        }


def script(name: str) -> str:
    return str(HERE / "receivers" / name)


def pipe(
    name: str, package: str, default: list[str], best: list[str], drain_s: float
) -> list[Peer]:
    """A recorder on the command line, its output read by this Python."""

    def python() -> Installed:
        return Installed(program=Path(sys.executable), missing=command(name, package).missing)

    return [
        Peer(
            f"{name} | Python",
            form,
            python,
            [script("with_pipe.py"), rate, form, name, *arguments],
            drain_s=drain_s if form == "default" else 0.5,
        )
        for form, rate, arguments in (("default", SPEECH, default), ("best", GRAPH, best))
    ]


def jack_client(libraries: Path | None) -> Installed:
    """JACK-Client, for which pipewire's libjack has to be there too."""
    if libraries is None:
        return Installed(missing="pipewire's libjack is not installed (package pipewire-jack)")
    return python_package("JACK-Client")


def echo_cancel() -> Installed:
    """PipeWire's module in a process of its own, which cpal hears."""
    missing = command("pipewire", "pipewire").missing or cpal().missing
    if not any(plugin.exists() for plugin in AEC_PLUGINS):
        missing = missing or "PipeWire's canceller is not installed (package libspa-0.2-modules)"
    return Installed(program=Path(sys.executable), missing=missing)


def all_peers(quantum: int) -> list[Peer]:
    """Everybody; nothing is installed yet."""
    sounddevice = partial(python_package, "sounddevice")
    pyaudio = partial(python_package, "PyAudio")
    soundcard = partial(python_package, "soundcard")
    forms = ("default", "best")
    peers = [
        Peer(f"sounddevice, {way}", form, sounddevice, [script("with_sounddevice.py"), way, form])
        for way in ("callback", "asyncio", "blocking")
        for form in forms
    ]
    peers += [
        Peer(f"PyAudio, {way}", form, pyaudio, [script("with_pyaudio.py"), way, form])
        for way, form in (("blocking", "default"), ("blocking", "best"), ("callback", "best"))
    ]
    peers += [
        Peer(
            "soundcard",
            form,
            soundcard,
            [script("with_soundcard.py"), form],
            drain_s=2.5 if form == "default" else 0.5,
        )
        for form in forms
    ]
    # The alsa-lib in its wheel looks for plugins elsewhere, and finds no PipeWire.
    decibri = partial(python_package, "decibri")
    plugins = next((str(place) for place in ALSA_PLUGINS if place.is_dir()), "")
    peers += [
        Peer(
            "decibri",
            form,
            decibri,
            [script("with_decibri.py"), form],
            env={"ALSA_PLUGIN_DIR": plugins},
        )
        for form in forms
    ]
    peers += [
        Peer("GStreamer, pipewiresrc", form, gstreamer, [script("with_gstreamer.py"), form])
        for form in forms
    ]
    # pw-jack's way to have pipewire's libjack found.
    places = [place / "pipewire-0.3/jack" for place in LIBRARIES]
    libraries = next((place for place in places if place.is_dir()), None)
    jack = partial(jack_client, libraries)
    jack_env = {"LD_LIBRARY_PATH": str(libraries)}
    asking = {"PIPEWIRE_LATENCY": f"{quantum}/{GRAPH}"}
    peers += [
        Peer(name, form, jack, [script("with_jack.py"), *quality], env=jack_env | env)
        for form, env, soxr in (("default", {}, "HQ"), ("best", asking, "LQ"))
        for name, quality in (("JACK-Client", []), ("JACK-Client, soxr", [soxr]))
    ]
    peers += [
        Peer(f"cpal, {host}", form, cpal, [host, form], python=False)
        for host in ("alsa", "pipewire")
        for form in forms
    ]
    hearing = [str(CPAL), "pipewire", "best"]
    peers.append(
        Peer(
            "module-echo-cancel",
            "best",
            echo_cancel,
            [script("with_echo_cancel.py"), *hearing],
            python=False,
        )
    )
    raw = ["--channels", "1", "--format", "f32"]
    peers += pipe(
        "pw-record",
        "pipewire-bin",
        ["--rate", SPEECH, *raw, "-"],
        ["--rate", GRAPH, *raw, "--latency", str(quantum), "-"],
        0.5,
    )
    raw = ["--channels=1", "--format=float32le"]
    peers += pipe(
        "parec",
        "pulseaudio-utils",
        [f"--rate={SPEECH}", *raw],
        [f"--rate={GRAPH}", *raw, "--latency=10"],
        2.5,
    )
    raw = ["-q", "-t", "raw", "-f", "FLOAT_LE", "-c", "1"]
    small = [f"--period-size={quantum}", f"--buffer-size={4 * quantum}"]
    peers += pipe("arecord", "alsa-utils", [*raw, "-r", SPEECH], [*raw, "-r", GRAPH, *small], 1.0)
    return peers
