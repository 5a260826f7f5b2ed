"""Write tests/data/vad_segments.json: probabilities, parameters, and silero-vad's own segments.

    python tools/models/vad_segments.py tests/data/vad_segments.json AUDIO.wav ...

Needs numpy, onnxruntime and silero-vad (without its dependency torch: only the
function that turns probabilities into timestamps is taken from it). The audio,
16 kHz mono WAV or raw 16 bit, gives the first sequences; the others are random
walks, which meet rules that real speech seldom does. With the file itself in place of
AUDIO its sequences are kept.
"""

import ast
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rig.vad_reference import Reference, read


def silero(name: str):
    """One function of silero-vad's utils, without importing torch."""
    path = Path(find_spec("silero_vad").submodule_search_locations[0]) / "utils_vad.py"
    tree = ast.parse(path.read_text())
    body = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    scope: dict = {}
    exec("from typing import List", scope)
    exec(compile(ast.Module(body, []), str(path), "exec"), scope)
    return scope[name]


PARAMETERS = [
    # threshold, neg_threshold, min_speech_ms, min_silence_ms, pad_ms, max_s,
    # split_silence_ms, at the longest pause instead of the last
    (0.5, None, 250, 100, 30, float("inf"), 98, True),  # silero-vad's defaults
    (0.5, None, 250, 500, 200, 30.0, 98, True),
    (0.5, None, 250, 100, 200, 8.0, 98, True),
    (0.3, 0.2, 0, 0, 0, 5.0, 98, True),
    (0.7, None, 100, 2000, 400, 4.0, 98, True),
    (0.05, None, 500, 250, 30, 12.5, 98, True),
    (0.5, 0.5, 250, 64, 500, 3.0, 98, True),
    (0.9, 0.1, 31, 32, 16, 2.0, 98, True),
    (0.5, None, 250, 500, 100, 4.0, 0, True),
    (0.4, None, 250, 1000, 30, 6.0, 300, True),
    (0.5, None, 250, 500, 200, 8.0, 98, False),
    (0.3, 0.2, 0, 300, 0, 3.0, 0, False),
    (0.6, None, 100, 2000, 100, 4.0, 200, False),
    (0.5, 0.45, 500, 4000, 30, 2.5, 64, False),
]


def walk(rng: np.random.Generator, windows: int) -> np.ndarray:
    """Speech and pauses of random lengths, with probabilities that dither about them."""
    level, out = 0.0, []
    while len(out) < windows:
        level = rng.choice([0.02, 0.2, 0.42, 0.6, 0.97])
        out += list(level + rng.normal(0, 0.08, rng.geometric(1 / rng.choice([3, 12, 60]))))
    return np.clip(np.array(out[:windows]), 0.001, 0.999)


def main() -> None:
    out, *recordings = sys.argv[1:]
    if recordings == [out]:
        before = json.loads(Path(out).read_text())["cases"]
        sequences = [np.array(case["probabilities"]) for case in before]
    else:
        sequences = [Reference().probabilities(read(path)) for path in recordings]
        rng = np.random.default_rng(7)
        sequences += [walk(rng, 1500) for _ in range(6)]
    timestamps = silero("get_speech_timestamps_from_probs")
    cases = []
    for p in sequences:
        p = np.round(p, 3).astype(np.float32)
        results = []
        length = len(p) * 512 - 100
        for threshold, neg, speech, silence, pad, longest, split, at_longest in PARAMETERS:
            found = timestamps(
                p.astype(np.float64),
                threshold=threshold,
                neg_threshold=neg,
                min_speech_duration_ms=speech,
                min_silence_duration_ms=silence,
                speech_pad_ms=pad,
                max_speech_duration_s=longest,
                min_silence_at_max_speech=split,
                use_max_poss_sil_at_max_speech=at_longest,
                audio_length_samples=length,
            )
            results.append([[int(s["start"]), int(s["end"])] for s in found])
        cases.append(
            {
                "length": length,
                "probabilities": [round(float(x), 3) for x in p],
                "segments": results,
            }
        )
    parameters = [[None if x == float("inf") else x for x in row] for row in PARAMETERS]
    document = {"parameters": parameters, "cases": cases}
    Path(out).write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
