"""The demonstration: a microphone where there is one, else recorded speech.

With a PipeWire session that has a source, the engine captures its default source.
Otherwise a private PipeWire is started, real recordings are played into its virtual
microphone in a loop, and the engine captures that. Either way
`python/examples/live.py` shows what Python gets: levels, and each utterance that was
found. Ctrl-C ends it; `DEMO_SECONDS=10 make demo` ends by itself.
"""

from __future__ import annotations

import array
import json
import os
import signal
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

from rig import ROOT, PrivatePipeWire

RECORDINGS = sorted(Path("/usr/share/sounds/alsa").glob("*_*.wav"))


def session_sources() -> list[str]:
    """The default source, of the user's own PipeWire or of a sound card; none without."""
    engine = Path(sys.executable).with_name("v2m-engine")
    listed = subprocess.run(
        [engine, "sources", "--json"], capture_output=True, text=True, timeout=10, check=False
    )
    if listed.returncode != 0:
        return []
    names = [str(source["name"]) for source in json.loads(listed.stdout) if source["default"]]
    # alsa-lib has a default where there is no card, too.
    return [name for name in names if not name.startswith("alsa:") or has_sound_card()]


def has_sound_card() -> bool:
    """Whether the kernel has a device that captures."""
    pcms = Path("/proc/asound/pcm")
    return pcms.exists() and "capture" in pcms.read_text()


def write_speech(path: Path) -> None:
    """The recordings one after the other, with pauses, as raw f32 at 48 kHz."""
    pause = array.array("f", bytes(4 * 36_000))
    speech = array.array("f")
    for recording in RECORDINGS:
        with wave.open(str(recording)) as file:
            samples = array.array("h", file.readframes(file.getnframes()))
            speech.extend(sample / 32_768 for sample in samples[:: file.getnchannels()])
        speech.extend(pause)
    path.write_bytes(speech.tobytes())


def live(env: dict[str, str]) -> int:
    """Runs the example until it ends or Ctrl-C does."""
    program = subprocess.Popen([sys.executable, ROOT / "python/examples/live.py"], env=env)
    seconds = os.environ.get("DEMO_SECONDS")
    # A terminal's Ctrl-C reaches both: the example says goodbye, then we clean up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What reaches only us is passed on, so that nothing stays behind.
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())
    try:
        return program.wait(timeout=float(seconds) if seconds else None)
    except subprocess.TimeoutExpired:
        program.send_signal(signal.SIGINT)
        return program.wait(timeout=10)


def main() -> int:
    """Chooses the source and shows it."""
    if names := session_sources():
        print(f"Your session's default source is {names[0]}. Speak. Ctrl-C ends.")
        return live(dict(os.environ))
    if not RECORDINGS:
        print("No recordings in /usr/share/sounds/alsa: install alsa-utils", file=sys.stderr)
        return 1
    print("No microphone here: a private PipeWire plays recorded speech. Ctrl-C ends.")
    with tempfile.TemporaryDirectory() as directory, PrivatePipeWire() as rig:
        speech = Path(directory) / "speech.f32"
        write_speech(speech)
        with rig.play(speech, "rig-mic", loop=True):
            return live(dict(os.environ) | rig.env)


if __name__ == "__main__":
    sys.exit(main())
