"""libv2m as cargo and a C compiler make it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rig import ROOT

CAPI = ROOT / "crates/capi"
WARNINGS = (
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Wcast-align"),
    *("-Wdouble-promotion", "-Wformat=2", "-Wvla", "-Werror"),
)


@dataclass
class Library:
    """Where it is, and where programs of its go."""

    built: Path
    place: Path

    def compile(
        self, source: Path, *flags: str, compiler: Sequence[str] = ("cc", "-std=gnu11")
    ) -> Path:
        """A program of this source that uses the library."""
        program = self.place / f"{source.stem}-{abs(hash((compiler, flags))) % 10**8}"
        command = [*compiler, "-g", *WARNINGS, *flags, f"-I{CAPI}/include", str(source)]
        command += [f"-L{self.built}", f"-Wl,-rpath,{self.built}", "-lv2m", "-lm", "-pthread"]
        subprocess.run([*command, "-o", program], check=True, timeout=120)
        return program
