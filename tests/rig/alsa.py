"""A microphone for ALSA without a sound card: builds ``alsa_mic.c`` and configures it."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent

FAULTS = {"none": 0, "silent": 1, "xrun": 2, "suspended": 3, "gone": 4, "hangs": 6}


def frames_of(samples: np.ndarray) -> np.ndarray:
    """Which frames of the microphone these full-scale samples are, by the last 16 bits of their
    numbers; 0, a single one of them, is silence."""
    numbers = np.arange(1 << 16, dtype=np.uint32)
    mixed = (numbers * 0x9E37) & 0xFFFF
    values = ((mixed ^ (mixed >> 7)) * 0x85EB) & 0xFFFF
    frames = np.zeros(1 << 16, np.int64)
    frames[values] = numbers
    return np.asarray(frames[np.round(samples * 32768).astype(np.int64) & 0xFFFF])


class AlsaMic:
    """An ALSA configuration of its own, whose default PCM is the microphone."""

    def __init__(
        self,
        directory: Path,
        others: dict[str, dict[str, object]] | None = None,
        **settings: object,
    ) -> None:
        """``settings`` as in ``alsa_mic.c``: rate, channels, format, level; ``others``: more
        such microphones, by name.
        """
        self._faults = directory / "alsa-faults"
        self.fail("none")
        library = directory / "alsa_mic.so"
        flags = ["-O2", "-shared", "-fPIC", "-DPIC"]
        subprocess.run(
            ["cc", *flags, "-o", library, HERE / "alsa_mic.c", "-lasound", "-lm"],
            check=True,
            timeout=60,
        )
        self.config = directory / "alsa.conf"
        pcms = {"mic": settings, "default": settings} | (others or {})
        lines = [f'pcm_type.test_mic {{ lib "{library}" }}', "ctl.default { type hw card 0 }"]
        for name, of_it in pcms.items():
            entries = " ".join(f"{key} {value}" for key, value in of_it.items())
            lines.append(f'pcm.{name} {{ type test_mic faults "{self._faults}" {entries} }}')
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def env(self) -> dict[str, str]:
        """What leads alsa-lib to it."""
        return {"ALSA_CONFIG_PATH": str(self.config)}

    def fail(self, how: str) -> None:
        """Has it fail so, from now on or once."""
        fault = struct.pack("=I", FAULTS[how])
        if self._faults.exists():
            with self._faults.open("r+b") as file:
                file.write(fault)
        else:
            self._faults.write_bytes(fault)
