"""The detection half of the module in an empty root: Python, its libraries, the package, and
nothing else; no engine, no PipeWire, no ALSA, no NumPy, no /proc."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import v2m_engine

PROGRAM = """
import array, math, sys
import v2m_engine
from v2m_engine.compat import silero_vad
audio = v2m_engine.read_audio("/talk.wav")
vad = v2m_engine.VADProcessor()
(found,) = vad.speech_timestamps(audio)
assert vad.speech_timestamps_many([audio, "/talk.wav"], 2) == [[found], [found]]
kinds = [event.kind for event in v2m_engine.VADStream().push(audio)]
assert kinds[0] == "start", kinds
assert silero_vad.get_speech_timestamps(audio, silero_vad.load_silero_vad())
assert "numpy" not in sys.modules
try:
    v2m_engine.AudioCapture().stream().__enter__()
except v2m_engine.EngineUnavailableError as error:
    print("no engine:", error)
print(found["start"], found["end"])
"""


def libraries(file: Path) -> set[Path]:
    listed = subprocess.run(["ldd", file], capture_output=True, text=True, check=False).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", listed)}


def copy(root: Path, file: Path) -> None:
    target = root / file.relative_to("/")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


def test_the_module_needs_nothing(tmp_path: Path, talk_path: Path) -> None:
    if subprocess.run(["unshare", "-r", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    root = tmp_path / "root"
    standard = Path(sysconfig.get_path("stdlib"))
    unwanted = shutil.ignore_patterns("site-packages", "test*", "idlelib", "*.pyc", "config-*")
    shutil.copytree(standard, root / standard.relative_to("/"), ignore=unwanted)
    program = Path(sys.executable).resolve()
    package = Path(v2m_engine.__file__).parent
    shutil.copytree(package, root / "site/v2m_engine", ignore=shutil.ignore_patterns("*.pyc"))
    (native,) = (root / "site/v2m_engine").glob("_native*.so")
    binaries = [program, native, *(root / standard.relative_to("/")).rglob("*.so")]
    needed = set.union(*(libraries(binary) for binary in binaries))
    own = libraries(native)
    assert not [path for path in own if re.search("pipewire|asound|onnx|torch", path.name)]
    for file in {program, *needed}:
        copy(root, file)
    shutil.copy(talk_path, root / "talk.wav")
    environment = {"PYTHONPATH": "/site", "PYTHONHOME": str(Path(sys.base_prefix).resolve())}
    done = subprocess.run(
        [
            "unshare",
            "-r",
            shutil.which("chroot") or "/usr/sbin/chroot",
            root,
            program,
            "-c",
            PROGRAM,
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no engine:" in done.stdout
