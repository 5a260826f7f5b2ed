"""libv2m from C and Node: what is read is what was played, waits end, and nothing is left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from rig import BINARY, ROOT
from rig.libv2m import CAPI, WARNINGS, Library
from rig.playing import Recording
from rig.speech import RATE, Talk
from rig.user import User

COMPILERS = [
    (*("gcc", "-std=c11"), "-Wstrict-prototypes"),
    (*("clang", "-std=c11"), "-Wstrict-prototypes"),
    ("g++", "-std=c++20", "-x", "c++"),
    ("clang++", "-std=c++20", "-x", "c++"),
]
VALGRIND = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full"]
VALGRIND += ["--errors-for-leak-kinds=definite"]

Play = Callable[..., bytes]


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """That of a user without a service; every private engine of it has ended afterwards."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    yield {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "V2M_ENGINE_BIN": str(BINARY),
    }
    assert not list(runtime.iterdir())


@pytest.fixture
def play(client: Path, env: dict[str, str]) -> Play:
    """Plays a scene of `client.c` to its end: what it said."""

    def play(scene: str, source: str, *before: str, program: Path = client, **more: str) -> bytes:
        done = subprocess.run(
            [*before, program, scene, source],
            env=env | more,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return play


@pytest.fixture
def short(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "short.wav", 3)


@pytest.fixture
def long(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "long.wav", 60)


@pytest.mark.parametrize("compiler", COMPILERS, ids=lambda flags: " ".join(flags[:2]))
def test_the_header_compiles_without_a_warning(compiler: tuple[str, ...], tmp_path: Path) -> None:
    source = tmp_path / "header.c"
    source.write_text("#include <v2m.h>\nint main(void) { return v2m_version() == 0; }\n")
    subprocess.run(
        [*compiler, *WARNINGS, f"-I{CAPI}/include", "-fsyntax-only", source], check=True, timeout=60
    )


def test_every_function_has_a_version_and_a_page(library: Library) -> None:
    header = set(re.findall(r"\b(v2m_\w+)\(\w", (CAPI / "include/v2m.h").read_text()))
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", library.built / "libv2m.so.1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    exported = {line.split()[2] for line in listed.splitlines() if " T " in line}
    assert exported == {f"{name}@@V2M_1" for name in header}
    assert set(re.findall(r"\bv2m_\w+(?=;)", (CAPI / "libv2m.map").read_text())) == header
    page = (CAPI / "v2m.3").read_text()
    assert set(re.findall(r"^\.Fn (v2m_\w+)", page, re.MULTILINE)) == header
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", CAPI / "v2m.3"], capture_output=True, check=False
    )
    assert lint.returncode == 0, lint.stdout.decode()


def test_what_is_read_is_what_was_played(play: Play, short: Recording) -> None:
    said = play("samples", short.source)
    samples = np.frombuffer(said[8:], np.float32)
    position = int.from_bytes(said[:8], sys.byteorder)
    assert len(samples) >= RATE
    assert len(samples) == (len(short.samples) - position) // 800 * 800
    assert short.holds(position, samples)


def test_each_rate_has_its_own_windows(play: Play, tmp_path: Path) -> None:
    """A source at 48 kHz is had at 48 kHz to the bit, and in the same time at the others."""
    played = np.random.default_rng(3).integers(-16000, 16000, 3 * 48_000).astype("<i2")
    with wave.open(str(tmp_path / "played.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(played.tobytes())
    for rate in (8000, 24_000, 32_000, 48_000):
        said = play("samples", f"file:{tmp_path}/played.wav", V2M_TEST_RATE=str(rate))
        position = int.from_bytes(said[:8], sys.byteorder)
        samples = np.frombuffer(said[8:], np.float32)
        assert len(samples) == (3 * rate - position) // 800 * 800
        if rate == 48_000:
            expected = (played / np.float32(32768)).astype(np.float32)
            assert np.array_equal(samples, expected[position : position + len(samples)])


def test_a_chunk_outlives_its_engine(play: Play, long: Recording) -> None:
    said = play("kept", long.source)
    position = int.from_bytes(said[:8], sys.byteorder)
    assert long.holds(position, np.frombuffer(said[8:], np.float32))


@pytest.mark.parametrize("uring", ["1", ""], ids=["thread", "io_uring"])
def test_an_event_loop_hears_of_everything(play: Play, tmp_path: Path, uring: str) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=Talk.texts[:2])
    said = play("loop", talk.source, V2M_ENGINE_NO_IO_URING=uring).decode()
    found = [tuple(map(int, pair)) for pair in re.findall(r"utterance (\d+) (\d+)", said)]
    for begin, end in talk.spoken:
        assert any(at < end and begin < at + count for at, count in found), (found, talk.spoken)
    events = [tuple(map(int, one)) for one in re.findall(r"event (\d+) (\d+) (\d+)", said)]
    # The engine's own: speech started and ended, and the source ended.
    assert [kind for kind, _, _ in events if kind in (2, 3)][:4] == [2, 3, 2, 3]
    assert (5, 3) in [event[:2] for event in events]
    (counts,) = re.findall(r"heard (\d+) judged (\d+)", said)
    heard, judged = map(int, counts)
    # Chunks are three windows and an eighth: the one that a chunk begins in counts again.
    assert len(talk.samples) - 1600 < heard + 8000 and judged * 512 >= heard - 8000


def test_utterances_by_waiting(play: Play, tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=Talk.texts[:2])
    said = play("utterances", talk.source).decode()
    found = re.findall(r"utterance (\d+) (\d+) ([0-9.]+)", said)
    assert len(found) == 2
    for at, count, loudness in found:
        expected = np.abs(talk.samples[int(at) : int(at) + int(count)]).mean()
        assert float(loudness) == pytest.approx(expected, abs=1e-3)


def test_threads_share_a_stream(play: Play, short: Recording) -> None:
    (count,) = re.findall(rb"chunks (\d+)", play("threads", short.source))
    assert 40 < int(count) <= 3 * RATE // 512


@pytest.mark.parametrize("scene", ["closed", "interrupted", "forked", "errors"])
def test_how_it_ends(play: Play, long: Recording, scene: str) -> None:
    play(scene, long.source)


@pytest.mark.parametrize("scene", ["samples", "loop", "closed", "threads", "kept", "errors"])
def test_valgrind_finds_nothing(play: Play, short: Recording, scene: str) -> None:
    play(scene, short.source, *VALGRIND)


@pytest.mark.parametrize("scene", ["samples", "loop", "closed", "forked", "errors"])
def test_sanitizers_find_nothing(
    play: Play, library: Library, short: Recording, scene: str
) -> None:
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = library.compile(ROOT / "tests/capi/client.c", *flags)
    play(scene, short.source, program=program, ASAN_OPTIONS="detect_leaks=1")


def test_an_engine_that_is_restarted(client: Path, user: User, long: Recording) -> None:
    """A read goes on with the next engine, and says that something is missing."""
    engine = user.start("--source", long.source)
    with subprocess.Popen(
        [client, "restarted", long.source], env=user.env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(5)]
        engine.kill()
        engine.wait()
        user.start("--source", long.source)
        said += process.stdout.readlines()
    assert process.returncode == 0
    chunks = [tuple(map(int, line.split()[1:])) for line in said if line.startswith("chunk")]
    (broken,) = [b for a, b in pairwise(chunks) if b[0] < a[0]]
    assert broken[1] & 1


def test_a_level_meter(library: Library, env: dict[str, str], tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=Talk.texts[:1])
    for compiler in ("gcc", "clang"):
        program = library.compile(CAPI / "examples/level.c", compiler=(compiler, "-std=c11"))
    done = subprocess.run(
        [program, talk.source], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    levels = [float(line.split()[0]) for line in lines if "dB" in line]
    assert min(levels) == -60 and -30 < max(levels) < 0
    assert any("speech" in line for line in lines) and not all("speech" in line for line in lines)
    refused = subprocess.run(
        [program, "file:/nonexistent.wav"], env=env, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("level: ")


def test_node_reads_utterances(library: Library, env: dict[str, str], tmp_path: Path) -> None:
    """By the example, which knows the structures by its own description of them."""
    talk = Talk(tmp_path / "talk.wav", texts=Talk.texts[:2])
    modules = ROOT / ".venv/node/node_modules"
    assert modules.is_dir(), "koffi is missing: packaging/setup.sh test installs it"
    (tmp_path / "node_modules").symlink_to(modules)
    script = tmp_path / "utterances.mjs"
    script.write_text((CAPI / "examples/utterances.mjs").read_text())
    node = Path(sys.executable).with_name("node")
    done = subprocess.run(
        [node, script, talk.source],
        env=env | {"LIBV2M": str(library.built / "libv2m.so.1")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [tuple(map(float, re.findall(r"[0-9.]+", line))) for line in done.stdout.splitlines()]
    assert len(found) == 2
    for (begin, end), (at, length, peak) in zip(talk.spoken, found, strict=True):
        first, last = round(at * RATE), round((at + length) * RATE)
        assert first <= begin + RATE // 5 and end - RATE // 5 <= last
        assert peak == pytest.approx(np.abs(talk.samples[first:last]).max(), abs=1e-3)
