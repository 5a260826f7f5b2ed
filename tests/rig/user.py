"""A user with an engine of their own, in a runtime directory of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from rig import BINARY, wait_until

SPEECH = "/usr/share/sounds/alsa/Front_Center.wav"


class User:
    """One user's environment: a runtime and a configuration directory."""

    def __init__(self, base: Path) -> None:
        self.runtime = base / "run"
        self.config = base / "config"
        for directory in (self.runtime, self.config / "v2m-engine"):
            directory.mkdir(parents=True)
        self.runtime.chmod(0o700)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(base),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_CONFIG_HOME": str(self.config),
        }
        self.engines: list[subprocess.Popen[str]] = []

    @property
    def socket(self) -> Path:
        return self.runtime / "v2m-engine/engine.sock"

    def command(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs the command to its end."""
        return subprocess.run(
            [BINARY, *arguments],
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def start(self, *arguments: str, log: Path | None = None, **env: str) -> subprocess.Popen[str]:
        """Starts the service and waits until it answers. ``log``: where it goes."""
        source = () if "--source" in arguments else ("--source", f"file:{SPEECH}")
        engine = subprocess.Popen(
            [BINARY, "run", *source, *arguments],
            env=self.env | env,
            stderr=log.open("w") if log else subprocess.PIPE,
            text=True,
        )
        self.engines.append(engine)
        wait_until(
            lambda: engine.poll() is not None or self.command("status", **env).returncode == 0,
            "the engine's first answer",
        )
        assert engine.poll() is None, engine.communicate()[1]
        return engine

    def status(self) -> dict[str, Any]:
        done = self.command("status", "--json")
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def stop_all(self) -> None:
        for engine in self.engines:
            if engine.poll() is None:
                engine.kill()
            engine.wait()
            if engine.stderr:
                engine.stderr.close()
