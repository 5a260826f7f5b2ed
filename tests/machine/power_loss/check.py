"""Opens the recordings of disks that lost power: `check.py PLAYED FOLDER`

In the folder is one for each disk. It holds what was there, and in `synced` for each
recording how many samples a sync was reported of.
"""

import sys
import wave
from pathlib import Path

import numpy as np

from rig.decoding import opens

#: What stands where a recording will be that may overwrite it.
OTHER = b"\xaa" * 4


def check(path: Path, least: int, played: np.ndarray) -> int:
    """How many samples it holds more than a sync was reported of."""
    if not path.exists() or path.read_bytes()[:4] == OTHER:
        assert least == 0, f"{path} is not there"
        return 0
    _, length = opens(path, played)
    assert length >= least, f"{path} holds {length} samples: {least} were synced"
    return length - least


with wave.open(sys.argv[1]) as file:
    played = np.frombuffer(file.readframes(file.getnframes()), "<i2")
for folder in sorted(Path(sys.argv[2]).iterdir()):
    for line in (folder / "synced").read_text().splitlines():
        name, least = line.split()
        more = check(folder / name, int(least), played)
        print(f"{folder.name}/{name}: {least} samples were synced, {more} more are there")
