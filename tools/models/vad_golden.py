"""Write tests/data/vad_golden.{i16,f32} and vad_golden_8k.f32: ten seconds of audio and the
reference's probabilities, at 16 kHz and for every second sample at 8 kHz.

    python tools/models/vad_golden.py RECORDING.wav

Speech at three levels, white noise, silence, full scale, and a click: enough for
the plain test run; `vad_reference.py` makes the long form.
"""

import sys

import numpy as np

from rig import ROOT
from rig.vad_reference import WINDOW, Reference, read

rng = np.random.default_rng(3)
speech = read(sys.argv[1])[:48000]
click = np.zeros(8000)
click[4000] = 1
parts = [
    speech,
    np.zeros(8000),
    0.02 * speech[:32000] + rng.normal(0, 1e-4, 32000),
    rng.normal(0, 0.1, 24000),
    speech[16000:40000] + rng.normal(0, 0.05, 24000),
    rng.choice([-1, 1], 16000),
    click,
]
audio = np.concatenate(parts)
audio = np.clip(np.round(audio[: len(audio) // WINDOW * WINDOW] * 32768), -32768, 32767)
place = ROOT / "tests/data"
audio.astype("<i2").tofile(place / "vad_golden.i16")
found = Reference().probabilities(audio.astype(np.float32) / 32768)
found.tofile(place / "vad_golden.f32")
print(len(found), "windows,", (found > 0.5).sum(), "of them speech")
half = Reference(rate=8000).probabilities(audio[::2].astype(np.float32) / 32768)
half.tofile(place / "vad_golden_8k.f32")
print("at 8 kHz", (half > 0.5).sum(), "of them speech")
