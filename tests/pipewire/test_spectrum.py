"""Speech and noise from 20 Hz to 20 kHz: no frequency arrives louder, softer or elsewhere,
through PipeWire, ALSA and files.

What the graph or the machine lost is a gap; only what holds none is looked at.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rig import PrivatePipeWire
from rig.alsa import AlsaMic
from rig.reference import Samples, locate
from rig.service import Engine
from rig.spectrum import HOP, OUTPUT, at_16k, clean_stretches, gains, segments, speech_in_noise
from v2m_engine import AudioCapture, AudioStream

RATES = (44_100, 48_000, 96_000, 192_000)
#: The graph's rate and quantum; a fast machine could do with more of the small ones.
GRAPHS = ((48_000, 64), (44_100, 256), (96_000, 256), (192_000, 1024))
#: Played, in seconds; a machine that loses nothing needs three of them.
SECONDS = 12.0
#: How many segments without a gap say enough; at these, 0.02 dB are noise.
ENOUGH = 60
#: What is looked for in what was played, and until when all have begun.
FOUND = 4000
BEGUN = 1.0


def arrive(
    stream: AudioStream, played: Samples, rate: int, once: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What became of each frequency. ``once``: the longest stretch alone counts, where
    what follows a gap can't be told by its position."""
    reference = [at_16k(played, rate)]
    arrived: list[Samples] = []
    flags: list[np.ndarray] = []
    deadline = time.monotonic() + SECONDS - 2
    while True:
        for chunk in stream:
            arrived.append(np.array(chunk.copy(), np.float32))
            flags.append(np.full(len(chunk), chunk.gap))
            if len(arrived) % 100 == 0:
                break
        else:
            raise AssertionError("the stream has ended")
        flagged = np.concatenate(flags)
        # Before it was played it can't be found.
        flagged[: int(BEGUN * OUTPUT)] = True
        stretches = clean_stretches(flagged)[: 1 if once else None]
        late = time.monotonic() > deadline
        if late or sum((end - begin) // HOP for begin, end in stretches) > ENOUGH:
            break
    samples = np.concatenate(arrived)
    begin, end = stretches[0]
    found = samples[begin : min(begin + FOUND, end)]
    shift = locate(found, reference)[1] - begin
    inputs, outputs = [], []
    for begin, end in stretches:
        x, y = segments(played, rate, samples, begin, end, shift)
        inputs += x
        outputs += y
    assert len(inputs) >= 20, f"{len(inputs)} segments without a gap"
    return gains(inputs, outputs)


def check(what: str, frequencies: np.ndarray, gain: np.ndarray) -> None:
    kept, closed = frequencies <= 7000, frequencies >= 9000
    loudest = frequencies[gain.argmax()]
    assert gain.max() <= 0.1, f"{what}: {gain.max():+.2f} dB at {loudest} Hz"
    softest = frequencies[kept][gain[kept].argmin()]
    assert gain[kept].min() >= -0.1, f"{what}: {gain[kept].min():+.2f} dB at {softest} Hz"
    # As far as this can tell.
    assert gain[closed].max() <= -30, f"{what}: {gain[closed].max():.1f} dB beyond 9 kHz"


def test_the_spectrum_through_pipewire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        graphs = []
        for rate, quantum in GRAPHS:
            rig = stack.enter_context(PrivatePipeWire(quantum=quantum, rate=rate))
            engine = stack.enter_context(Engine(rig))
            rig.wait_for_links("rig-mic", "v2m-engine")
            graphs.append((rig, rate, quantum, engine.socket))
        runs = []
        for rig, rate, quantum, socket in graphs:
            played = speech_in_noise(SECONDS, rate)
            path = tmp_path / f"{rate}.f32"
            played.tofile(path)
            player = stack.enter_context(rig.play(str(path), "rig-mic", rate=0))
            assert player.started()[-1][1] == rate
            monkeypatch.setenv("V2M_ENGINE_SOCKET", socket)
            stream = AudioCapture(engine="service", buffer_size=160).stream(timeout=20)
            run = pool.submit(arrive, stack.enter_context(stream), played, rate)
            runs.append((f"PipeWire at {rate} Hz, quantum {quantum}", run))
        for what, run in runs:
            check(what, *run.result())


def test_the_spectrum_through_alsa_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mic = AlsaMic(tmp_path)
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(mic.config))
    monkeypatch.setenv("V2M_ENGINE_SOCKET", str(tmp_path / "none"))
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        runs = []
        sounds = {}
        for rate in RATES:
            played = speech_in_noise(SECONDS, rate)
            path = tmp_path / f"{rate}.wav"
            soundfile.write(path, played, rate, subtype="FLOAT")
            (np.clip(played, -1, 1) * (2**31 - 1)).astype("<i4").tofile(tmp_path / f"{rate}.s32")
            with mic.config.open("a") as config:
                # The microphone's clock, the file's content.
                config.write(
                    f'pcm.of{rate} {{ type file file /dev/null infile "{tmp_path}/{rate}.s32" '
                    f"format raw slave.pcm {{ type test_mic rate {rate} format S32_LE }} }}\n"
                )
            sounds[rate] = (path, played)
        # One engine for all of them, which has read this configuration.
        for rate, (path, played) in sounds.items():
            for source in (f"file:{path}", f"alsa:of{rate}"):
                capture = AudioCapture(source=source, engine="private", buffer_size=160)
                stream = stack.enter_context(capture.stream(timeout=20))
                once = source.startswith("alsa")
                run = pool.submit(arrive, stream, played, rate, once)
                runs.append((f"{source.split(':')[0]} at {rate} Hz", run))
        for what, run in runs:
            check(what, *run.result())
