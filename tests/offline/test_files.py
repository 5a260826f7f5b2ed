"""`v2m-engine vad` and the module's file half: files of every kind, as users give them."""

from __future__ import annotations

import array
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from rig import BINARY, wait_until
from rig.playing import Floats
from rig.speech import Talk
from v2m_engine import VADProcessor, read_audio, speech_timestamps_many

RATE = 16000


def encode(path: Path, samples: Floats, codec: str, rate: int = RATE, channels: int = 1) -> Path:
    """`samples`, which have 16 kHz, in every channel, by FFmpeg's libraries."""
    if codec == "vorbis":
        at = np.arange(len(samples) * rate // RATE) * RATE / rate
        whole = np.interp(at, np.arange(len(samples)), samples)
        soundfile.write(path, np.repeat(whole[:, None], channels, 1), rate, subtype="VORBIS")
        return path
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = layout
        resampler = av.AudioResampler(stream.format.name, layout, rate, stream.frame_size or None)
        for begin in range(0, len(samples), 4096):
            piece = np.repeat(samples[None, begin : begin + 4096], channels, axis=0)
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(piece, np.float32), "fltp", layout
            )
            frame.sample_rate, frame.pts = RATE, begin
            for resampled in resampler.resample(frame):
                container.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return path


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [BINARY, "vad", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def table(text: str) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for line in text.splitlines():
        name, start, end = line.split("\t")
        found.setdefault(Path(name).name, []).append((float(start), float(end)))
    return found


def is_the_talk(talk: Talk, found: list[tuple[float, float]]) -> bool:
    """The same utterances; a codec may add or lose some milliseconds."""
    if len(found) != len(talk.spoken):
        return False
    return all(
        begin / RATE - 0.5 < start < begin / RATE + 0.1 and end / RATE - 0.15 < to
        for (start, to), (begin, end) in zip(found, talk.spoken, strict=True)
    )


ENCODINGS = [
    ("wav16.wav", "pcm_s16le", 16000, 1),
    ("wav24.wav", "pcm_s24le", 44100, 2),
    ("float.wav", "pcm_f32le", 96000, 6),
    ("alaw.wav", "pcm_alaw", 8000, 1),
    ("speech.flac", "flac", 48000, 2),
    ("speech.mp3", "libmp3lame", 44100, 2),
    ("phone.mp3", "libmp3lame", 8000, 1),
    ("speech.ogg", "vorbis", 48000, 1),
    ("speech.m4a", "aac", 44100, 2),
    ("alac.m4a", "alac", 22050, 1),
    ("speech.aiff", "pcm_s16be", 11025, 2),
    ("speech.caf", "pcm_s16le", 24000, 1),
]


@pytest.fixture(scope="session")
def corpus(talk: Talk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for name, codec, rate, channels in ENCODINGS:
        encode(folder / name, talk.samples, codec, rate, channels)
    return folder


def test_every_format_rate_and_channel_count(talk: Talk, corpus: Path) -> None:
    done = run(corpus)
    assert (done.returncode, done.stderr) == (0, "")
    found = table(done.stdout)
    assert list(found) == sorted(name for name, *_ in ENCODINGS)
    for name, segments in found.items():
        assert is_the_talk(talk, segments), (name, segments)
    # Python says the same, in samples of each file's own rate.
    names = [name for name, *_ in ENCODINGS]
    vad = VADProcessor()
    paths = [corpus / name for name in names]
    many = vad.speech_timestamps_many(paths, 2)
    assert many == speech_timestamps_many(paths, threshold=0.5)
    for (name, _, rate, _), stamps in zip(ENCODINGS, many, strict=True):
        assert isinstance(stamps, list)
        seconds = [(s["start"] / rate, s["end"] / rate) for s in stamps]
        assert np.allclose(seconds, found[name], atol=6e-4), name
        audio = read_audio(str(corpus / name))
        assert abs(len(audio) - len(talk.samples)) < RATE // 5
    samples = read_audio(corpus / "wav16.wav")
    assert np.array_equal(np.asarray(samples), talk.samples)


def test_the_channels_mean_is_judged(talk: Talk, tmp_path: Path) -> None:
    """Eight channels of different content, one of them a voice."""
    rng = np.random.default_rng(1)
    frames = rng.normal(0, 1e-3, (len(talk.samples), 8))
    frames[:, 5] += talk.samples
    path = tmp_path / "eight.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((8, 2, RATE, 0, "NONE", ""))
        out.writeframes(np.clip(np.round(frames * 32767), -32768, 32767).astype("<i2").tobytes())
    mean = np.asarray(read_audio(path))
    assert np.abs(mean - frames.mean(1)).max() < 1e-4
    assert is_the_talk(talk, table(run(path, "--hearing", "enhanced").stdout)["eight.wav"])


def test_what_is_written(talk: Talk, corpus: Path, tmp_path: Path) -> None:
    path = corpus / "speech.flac"
    text = table(run(path).stdout)["speech.flac"]
    (document,) = json.loads(run(path, "--format", "json").stdout)
    assert (document["rate"], document["file"]) == (48000, str(path))
    stretches = [(s["start"], s["end"]) for s in document["speech"]]
    assert np.allclose(stretches, text, atol=6e-4)
    assert all(abs(s["start_sample"] / 48000 - s["start"]) < 1e-4 for s in document["speech"])
    csv = run(path, "--format", "csv").stdout.splitlines()
    assert csv[0] == "file,start,end" and len(csv) == 4
    rttm = run(path, "--format", "rttm").stdout.splitlines()
    fields = [line.split() for line in rttm]
    assert all(f[0] == "SPEAKER" and f[1] == "speech" and len(f) == 10 for f in fields)
    assert np.allclose([float(f[3]) for f in fields], [start for start, _ in text])
    srt = run(path, "--format", "srt").stdout
    times = re.findall(r"(?m)^(\d\d:\d\d:\d\d,\d{3}) --> (\d\d:\d\d:\d\d,\d{3})$", srt)
    assert len(times) == 3 and srt.startswith("1\n")
    # Several files: one document, or a file each.
    both = [path, corpus / "speech.mp3"]
    documents = json.loads(run(*both, "--format", "json").stdout)
    assert [d["file"] for d in documents] == [str(p) for p in both]
    refused = run(*both, "--format", "srt")
    assert refused.returncode == 2 and "--out DIR" in refused.stderr
    out = tmp_path / "new/out"
    done = run(*both, "--format", "srt", "--out", out)
    assert (done.returncode, done.stdout) == (0, "")
    # They would have one name: each keeps its own extension.
    assert sorted(p.name for p in out.iterdir()) == ["speech.flac.srt", "speech.mp3.srt"]
    assert (out / "speech.flac.srt").read_text() == srt


def test_folders_patterns_and_going_on(talk: Talk, tmp_path: Path) -> None:
    for name in ("a/one.wav", "a/b/two.wav", "c/one.wav"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(talk.path.read_bytes())
    (tmp_path / "in/notes.txt").write_text("not audio\n")
    os.symlink("..", tmp_path / "in/a/round")
    out = tmp_path / "out"
    done = run("in", "--out", "out", "--format", "json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    written = {str(p.relative_to(out)) for p in out.rglob("*.json")}
    assert written == {"a/one.json", "a/b/two.json", "c/one.json"}
    assert not list(out.rglob("*.part"))
    # What is there already is left alone.
    (out / "c/one.json").unlink()
    stamp = (out / "a/one.json").stat().st_mtime_ns
    run("in", "--out", "out", "--format", "json", "--skip-existing", cwd=tmp_path)
    assert (out / "c/one.json").exists()
    assert (out / "a/one.json").stat().st_mtime_ns == stamp
    done = run("in/**/o*.wav", cwd=tmp_path)
    assert set(re.findall(r"in/\S+", done.stdout)) == {"in/a/one.wav", "in/c/one.wav"}
    # Each once, however often it is named.
    assert run("in/c/one.wav", "in/c", "in/c/one.wav", cwd=tmp_path).stdout.count("\n") == 3
    for nothing in ("in/**/*.ogg", "nowhere"):
        done = run(nothing, cwd=tmp_path)
        assert done.returncode != 0 and nothing in done.stderr
    assert run(tmp_path / "in", "x", "--jobs", "0").returncode == 2
    # A pattern's folders are kept; two files of one name from two places can't be.
    run("in/**/o*.wav", "--out", "more", cwd=tmp_path)
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.glob("more/*/*")} == {
        "more/a/one.txt",
        "more/c/one.txt",
    }
    done = run("in/a/one.wav", "in/c/one.wav", "--out", "more", cwd=tmp_path)
    assert done.returncode == 2 and "two of the files are called one" in done.stderr


def test_a_bad_file_costs_one_line(talk: Talk, tmp_path: Path) -> None:
    files = {
        "1.wav": talk.path.read_bytes(),
        "2.wav": b"",
        "3.wav": b"no audio at all\n" * 50,
        "4.wav": talk.path.read_bytes()[:30],
        "6.wav": talk.path.read_bytes(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    bad = np.zeros(4000, np.float32)
    bad[1234] = np.nan
    loud = talk.samples * 32768
    for name, samples in (("7.wav", bad), ("8.wav", loud)):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("pcm_f32le", rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples[None, :].astype("f4"), "flt", "mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
    names = [tmp_path / f"{n}.wav" for n in range(1, 9)]
    done = run(*names)
    assert done.returncode == 1
    assert list(table(done.stdout)) == ["1.wav", "6.wav"]
    lines = done.stderr.splitlines()
    assert len(lines) == 6
    for line, number in zip(lines, (2, 3, 4, 5, 7, 8), strict=True):
        assert line.startswith("v2m-engine: ")
        assert f"{number}.wav" in line
    assert "sample 1234 is NaN" in done.stderr and "divide audio of 16 bit scale" in done.stderr
    documents = json.loads(run(*names, "--format", "json").stdout)
    assert ["error" in d for d in documents] == [n in (2, 3, 4, 5, 7, 8) for n in range(1, 9)]
    # In Python each is where the item was.
    found = VADProcessor().speech_timestamps_many(names)
    assert [isinstance(f, ValueError) for f in found] == ["error" in d for d in documents]
    with pytest.raises(ValueError, match="No such file"):
        read_audio(tmp_path / "5.wav")


def test_an_encoding_that_is_not_read_says_what_to_do(talk: Talk, tmp_path: Path) -> None:
    """Opus, in each of its containers that are read; what the message names does it."""
    for name in ("speech.opus", "speech.ogg", "speech.mp4"):
        encode(tmp_path / name, talk.samples, "libopus", 48000)
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 3 and all("`ffmpeg -i FILE copy.flac`" in line for line in lines)
    decoded, rate = soundfile.read(tmp_path / "speech.opus", dtype="float32")
    (found,) = VADProcessor().speech_timestamps_many([decoded], sample_rate=rate)
    assert isinstance(found, list)
    assert is_the_talk(talk, [(s["start"] / rate, s["end"] / rate) for s in found])


def rf64(samples: Floats, said: int | None = None) -> bytes:
    """With a chunk behind the audio, whose bytes are no samples."""
    data = (samples * 32767).astype("<i2").tobytes()
    fmt = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    ds64 = struct.pack("<QQQI", 0, len(data) if said is None else said, len(samples), 0)
    chunks = b"ds64" + struct.pack("<I", len(ds64)) + ds64
    chunks += b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data\xff\xff\xff\xff" + data
    return b"RF64\xff\xff\xff\xffWAVE" + chunks + b"LIST" + struct.pack("<I", 4000) + bytes(4000)


@pytest.mark.parametrize("said", [None, 0, 2000, 1 << 62, (1 << 64) - 1])
def test_rf64(talk: Talk, tmp_path: Path, said: int | None) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(rf64(talk.samples, said))
    audio = np.asarray(read_audio(path))
    if said is None:
        assert len(audio) == len(talk.samples)
        assert np.abs(audio - talk.samples).max() < 1e-4
        (found,) = VADProcessor().speech_timestamps_many([path])
        assert found == VADProcessor().speech_timestamps(audio)
    else:
        # A length that lies: to what it says, or to the file's end.
        behind = (len(talk.samples) * 2 + 4008) // 2
        assert len(audio) == min(said // 2, behind)


def mutated(rng: np.random.Generator, content: bytes) -> bytes:
    """Cut, with bytes changed, left out or said twice, mostly where lengths are."""
    bad = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        end = len(bad) if rng.random() < 0.4 else min(200, len(bad))
        if end < 8:
            break
        at = int(rng.integers(0, end - 4))
        match int(rng.integers(0, 6)):
            case 0:
                del bad[at:]
            case 1:
                bad[at] ^= 1 << int(rng.integers(0, 8))
            case 2:
                bad[at : at + 4] = rng.bytes(4)
            case 3:
                bad[at : at + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"])
            case 4:
                del bad[at : at + int(rng.integers(1, 50))]
            case _:
                bad[at:at] = bad[at : at + int(rng.integers(1, 50))]
    return bytes(bad)


def test_files_that_lie_cost_themselves_only(talk: Talk, corpus: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(int(os.environ.get("V2M_TEST_SEED", 11)))
    short = talk.samples[: 2 * RATE]
    originals = []
    for name, codec, rate, channels in ENCODINGS:
        path = encode(tmp_path / name, short, codec, rate, min(channels, 2))
        originals.append(path.read_bytes())
    originals.append(rf64(short))
    good = corpus / "speech.flac"
    files: list[Path] = []
    for n in range(260):
        path = tmp_path / f"lie-{n}"
        path.write_bytes(mutated(rng, originals[n % len(originals)]))
        files += [path, good] if n % 50 == 0 else [path]
    vad = VADProcessor()
    (expected,) = vad.speech_timestamps_many([good])
    found = vad.speech_timestamps_many(files, 2)
    assert len(found) == len(files)
    for path, result in zip(files, found, strict=True):
        if path == good:
            assert result == expected
        elif isinstance(result, list):
            ends = [stamp["end"] for stamp in result]
            assert ends == sorted(ends)
        else:
            assert "\n" not in str(result) and str(path) in str(result)
    assert 40 < sum(isinstance(result, Exception) for result in found) < 250


def sparse(path: Path, seconds: int) -> Path:
    """Silence without a byte on the disk."""
    length = seconds * RATE * 2
    head = b"RIFF" + struct.pack("<I", 36 + length) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    path.write_bytes(head + b"data" + struct.pack("<I", length))
    os.truncate(path, 44 + length)
    return path


PEAK = "import resource, sys; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """`V2M_TEST_LONG=1`: a day."""
    hours = 24 if os.environ.get("V2M_TEST_LONG") else 1
    peaks = []
    for seconds in (60, hours * 3600):
        path = sparse(tmp_path / f"{seconds}.wav", seconds)
        code = f"import subprocess; subprocess.run({[str(BINARY), 'vad', str(path)]}); {PEAK}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        peaks.append(int(done.stdout) // 1024)
    print("MB at most:", peaks)
    assert peaks[1] < 200 and peaks[1] - peaks[0] < 30


def test_a_terminal_sees_how_long_it_takes(tmp_path: Path) -> None:
    path = sparse(tmp_path / "long.wav", 2 * 3600)
    primary, secondary = pty.openpty()
    command = [BINARY, "vad", path, tmp_path / "missing.wav"]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=secondary)
    os.close(secondary)
    shown = b""
    while True:
        try:
            if not (piece := os.read(primary, 4096)):
                break
        except OSError:
            break
        shown += piece
    assert done.wait() == 1
    assert re.search(rb"\r\x1b\[K[01] of 2 files.* left", shown)
    # Nothing of it stays before another line.
    assert b"\r\x1b[Kv2m-engine: can't read" in shown


def test_a_reader_that_goes_away_is_no_error(talk: Talk) -> None:
    command = f"{BINARY} vad {talk.path} --format json | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[", "")


def test_items_of_any_kind_keep_their_order(talk: Talk) -> None:
    vad = VADProcessor()
    expected = vad.speech_timestamps(talk.samples)
    int16 = (talk.samples * 32768).astype(np.int16)
    items: list[Any] = [
        talk.samples,
        None,
        str(talk.path),
        int16,
        array.array("f"),
        talk.path,
        talk.samples[::2],
        np.full(10, 30000, np.float32),
    ]
    for jobs in (None, 1, 3):
        found = vad.speech_timestamps_many(iter(items * 5), jobs)
        assert len(found) == 40
        for n in range(0, 40, 8):
            a, none, b, c, empty, d, strided, loud = found[n : n + 8]
            assert a == b == c == d == expected and empty == []
            assert isinstance(none, TypeError) and isinstance(strided, ValueError)
            assert isinstance(loud, ValueError) and "16 bit scale" in str(loud)
    with pytest.raises(ValueError, match="jobs"):
        vad.speech_timestamps_many([], 0)
    with pytest.raises(TypeError):
        vad.speech_timestamps_many(3)  # type: ignore[arg-type]
    seconds = vad.speech_timestamps_many([talk.path], return_seconds=True, time_resolution=1)
    assert seconds == [[{k: round(v / RATE, 1) for k, v in s.items()} for s in expected]]


def test_an_iterator_is_asked_when_there_is_room(talk: Talk) -> None:
    taken = 0

    def endless() -> Iterator[Any]:
        nonlocal taken
        while True:
            taken += 1
            if taken == 100:
                raise RuntimeError("no more")
            yield talk.samples[: RATE * 2]

    with pytest.raises(RuntimeError, match="no more"):
        VADProcessor().speech_timestamps_many(endless(), 2)
    assert taken == 100


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    code = (
        "import itertools, numpy as np, v2m_engine as v; print('on', flush=True)\n"
        "v.VADProcessor().speech_timestamps_many(itertools.repeat(np.zeros(160000, 'f4')))"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "on\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    wait_until(lambda: process.poll() is not None, "the end")
