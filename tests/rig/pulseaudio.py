"""What becomes of the engine where a PulseAudio daemon has the sound and no PipeWire runs.

Run as a program it prints what it saw as one JSON object; standard library only, so that it
runs in a bare root of another release, too: ``python3 -m rig.pulseaudio ENGINE``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rig import wait_until

# Of modules that need neither a sound card nor a session.
MODULES = ("module-native-protocol-unix", "module-null-sink sink_name=speakers rate=48000")


def look(engine: str) -> dict[str, Any]:
    """Has the engine capture what PulseAudio gives by default; what came of it."""
    with tempfile.TemporaryDirectory(prefix="rig-") as home:
        runtime = Path(home, "run")
        runtime.mkdir(mode=0o700)
        env = {"PATH": os.environ["PATH"], "HOME": home, "XDG_RUNTIME_DIR": str(runtime)}
        modules = [word for module in MODULES for word in ("-L", module)]
        options = ("-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no")
        with open(Path(home, "pulseaudio.log"), "wb") as log:
            daemon = subprocess.Popen(["pulseaudio", *options, *modules], env=env, stderr=log)
        running: list[subprocess.Popen[bytes]] = [daemon]

        def run(*command: str) -> str:
            done = subprocess.run(
                command, env=env, capture_output=True, text=True, timeout=60, check=False
            )
            return done.stdout

        def status() -> dict[str, Any]:
            done = run(engine, "status", "--json")
            found: dict[str, Any] = json.loads(done) if done else {}
            return found

        try:
            wait_until((runtime / "pulse/native").exists, "PulseAudio")
            running.append(
                subprocess.Popen(
                    [engine, "run", "--capture", "always"], env=env, stderr=subprocess.DEVNULL
                )
            )
            wait_until(lambda: status().get("source", {}).get("linked"), "a source", seconds=30)
            before = status()["ring"]["position"]
            wait_until(lambda: status()["ring"]["position"] > before + 32_000, "audio", seconds=30)
            sources = json.loads(run(engine, "sources", "--json"))
            starred = [source["name"] for source in sources if source["default"]]
            form = ("--format", "s16le", "--seconds", "0.5")
            checks = json.loads(run(engine, "doctor", "--json"))["checks"]
            return {
                "linked": status()["source"]["linked"],
                "recorders": run("pactl", "list", "source-outputs"),
                "starred": {
                    name: len(run(engine, "record", "-", *form, "--source", name))
                    for name in starred
                },
                "doctor": {check["name"]: check for check in checks},
            }
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait(10)


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1])))
