"""A microphone for ALSA without a sound card: builds ``alsa_mic.c`` and configures it."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent

FAULTS = {"none": 0, "silent": 1, "xrun": 2, "suspended": 3, "gone": 4, "hangs": 6}


class AlsaMic:
    """An ALSA configuration of its own, whose default PCM is the microphone."""

    def __init__(self, directory: Path, **settings: object) -> None:
        """``settings`` as in ``alsa_mic.c``: rate, channels, format, level."""
        self._faults = directory / "alsa-faults"
        self.fail("none")
        library = directory / "alsa_mic.so"
        flags = ["-O2", "-shared", "-fPIC", "-DPIC"]
        subprocess.run(
            ["cc", *flags, "-o", library, HERE / "alsa_mic.c", "-lasound"], check=True, timeout=60
        )
        self.config = directory / "alsa.conf"
        entries = " ".join(f"{key} {value}" for key, value in settings.items())
        self.config.write_text(
            f'pcm_type.test_mic {{ lib "{library}" }}\n'
            f'pcm.mic {{ type test_mic faults "{self._faults}" {entries} }}\n'
            f'pcm.default {{ type test_mic faults "{self._faults}" {entries} }}\n'
            "ctl.default { type hw card 0 }\n"
        )

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
