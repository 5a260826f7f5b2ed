"""The bench as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rig import BINARY


class Bench:
    """Runs `v2m-engine bench latency` where no session is, in a home of its own."""

    def __init__(self, directory: Path, **env: str) -> None:
        (directory / "run").mkdir(mode=0o700)
        (directory / "tmp").mkdir()
        keep = {k: v for k, v in os.environ.items() if not k.startswith("PIPEWIRE_")}
        self.directory = directory
        self.env = keep | {
            "HOME": str(directory),
            "TMPDIR": str(directory / "tmp"),
            "XDG_RUNTIME_DIR": str(directory / "run"),
            "XDG_CONFIG_HOME": str(directory),
            **env,
        }

    def __call__(
        self, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        python = () if "--python" in arguments else ("--python", sys.executable)
        done = subprocess.run(
            [BINARY, "bench", "latency", *python, *arguments],
            env=self.env | (env or {}),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        left = list((self.directory / "tmp").iterdir())
        assert not left, f"left behind: {left}"
        assert "panicked" not in done.stderr, done.stderr
        return done
