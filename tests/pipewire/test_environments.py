"""Machines and sessions that are not a stock desktop with PipeWire."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import BINARY, ROOT, PrivatePipeWire, wait_until
from rig.alsa import AlsaMic
from rig.service import Engine, status, tone
from rig.session import Session
from v2m_engine import AudioCapture, DeviceError


def run(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BINARY, *arguments], env=env, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("command", [("run",), ("sources",), ("doctor", "--json")])
def test_a_lost_runtime_directory_is_what_is_blamed(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = run(env, *command)
    said = done.stdout + done.stderr
    assert "XDG_RUNTIME_DIR" in said and "/run/pipewire" not in said, said


def test_a_client_without_a_runtime_directory_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_RUNTIME_DIR", "PIPEWIRE_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    # Nothing is left but PipeWire.
    (tmp_path / "alsa.conf").write_text("ctl.default { type hw card 0 }\n")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "alsa.conf"))
    with pytest.raises(Exception, match="XDG_RUNTIME_DIR"):
        AudioCapture().stream(timeout=2).__enter__()


CLIENT = """
import json
from v2m_engine import AudioCapture, DeviceError
with AudioCapture(buffer_size=1600).stream(timeout=20) as stream:
    next(stream)
    print(json.dumps(stream.private_engine_pid is not None))
"""


def client(env: dict[str, str], *before: str) -> Any:
    """Whether a program there has a private engine, once it has heard something of PipeWire's.
    ``before``: programs that run it."""
    done = subprocess.run(
        [*before, sys.executable, "-c", CLIENT],
        env=env | {"V2M_ENGINE_BIN": str(BINARY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def foreign_libraries(tmp_path: Path) -> Path:
    """What a bundle brings: a libpipewire that is none, as far as the engine goes."""
    directory = tmp_path / "bundle"
    directory.mkdir()
    source = tmp_path / "empty.c"
    source.write_text("int of_another_build;\n")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", directory / "libpipewire-0.3.so.0", source],
        check=True,
        timeout=60,
    )
    return directory


def test_a_bundles_libraries_are_not_the_engines(
    rig: PrivatePipeWire, foreign_libraries: Path
) -> None:
    assert client(rig.env | {"LD_LIBRARY_PATH": str(foreign_libraries)})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hides the system's own")
def test_a_bundles_libraries_are_taken_where_the_system_has_none(
    rig: PrivatePipeWire, tmp_path: Path
) -> None:
    library = system_library()
    bundle, none = tmp_path / "bundle", tmp_path / "none"
    bundle.mkdir()
    shutil.copy(library, bundle / "libpipewire-0.3.so.0")
    none.touch()
    hide = 'mount --bind "$0" "$1" && shift && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", hide, str(none), str(library.resolve()))
    env = rig.env | {"LD_LIBRARY_PATH": str(bundle)}
    assert subprocess.run([*before, BINARY, "--version"], env=rig.env, check=False).returncode
    assert client(env, *before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a container here")
def test_a_container_with_pipewires_socket_only(rig: PrivatePipeWire, tmp_path: Path) -> None:
    """Processes, network and memory of its own, and nothing of the session but that socket."""
    own = tmp_path / "run"
    own.mkdir(mode=0o700)
    (own / "pipewire-0").touch()
    give = 'mount --bind "$0" "$1" && mount -t tmpfs none /dev/shm && shift && exec "$@"'
    contained = (
        *("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--net", "--ipc"),
        *("sh", "-c", give, str(rig.directory / "pipewire-0"), str(own / "pipewire-0")),
    )
    (tmp_path / "alsa.conf").write_text("ctl.default { type hw card 0 }\n")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(own),
        # Nothing stands in for it.
        "ALSA_CONFIG_PATH": str(tmp_path / "alsa.conf"),
    }
    assert client(env, *contained)


#: The release of Ubuntu 22.04.
OLDEST = (0, 3, 48)


@pytest.fixture(scope="module")
def newer_functions() -> set[str]:
    """Those of libpipewire that came later, by Debian's record of when each was seen first."""
    if shutil.which("dpkg-query") is None:
        pytest.skip("no dpkg says when a function came")
    # Newer releases call it libpipewire-0.3-0t64.
    package = text_of("dpkg-query", "--search", "*/libpipewire-0.3.so.0").partition(":")[0]
    record = text_of("dpkg-query", "--control-path", package, "symbols").strip()
    listed = re.findall(r"^ (\w+)@\S+ ([\d.]+)", Path(record).read_text(), re.MULTILINE)
    return {name for name, since in listed if tuple(map(int, since.split("."))) > OLDEST}


def text_of(*command: str | Path) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=True, timeout=60
    ).stdout


def system_library() -> Path:
    lines = text_of("ldconfig", "-p").splitlines()
    return Path(next(line.split()[-1] for line in lines if "libpipewire-0.3.so.0" in line))


def looked_up(functions: set[str]) -> set[str]:
    """Those of these functions that the engine looks for when it runs: their names are in it."""
    return set(re.findall(r"pw_\w+", text_of("readelf", "-p", ".rodata", BINARY))) & functions


def test_no_function_that_came_after_0_3_48_is_needed_to_start(newer_functions: set[str]) -> None:
    bound = {line.split()[-1] for line in text_of("nm", "-D", "-u", BINARY).splitlines()}
    assert "pw_context_connect" in bound
    assert bound & newer_functions == set()
    # What is hidden below is all that the engine would take.
    assert looked_up(newer_functions) == {"pw_context_get_data_loop"}


@pytest.fixture
def older_library(newer_functions: set[str], tmp_path: Path) -> Path:
    """The system's libpipewire without the later functions that the engine looks for."""
    library = system_library().read_bytes()
    for function in looked_up(newer_functions):
        library = renamed(library, function, function[:-1] + "0")
    directory = tmp_path / "older"
    directory.mkdir()
    (directory / "libpipewire-0.3.so.0").write_bytes(library)
    return directory


def renamed(library: bytes, text: str, to: str) -> bytes:
    """The library with another text of at most this length for that one."""
    whole = b"\0" + text.encode() + b"\0"
    assert library.count(whole) == 1
    return library.replace(whole, b"\0" + to.encode().ljust(len(text) + 1, b"\0"))


def test_a_libpipewire_without_later_functions_captures_too(
    rig: PrivatePipeWire, older_library: Path, tmp_path: Path
) -> None:
    rig.play(tone(rig, tmp_path / "a", 0.5), "rig-mic", loop=True)
    with Engine(rig, LD_LIBRARY_PATH=str(older_library)) as engine:
        maps = Path(f"/proc/{engine.process.pid}/maps").read_text()
        assert str(older_library) in maps, "the system's was taken"
        done = subprocess.run(
            [BINARY, "record", "-", "--format", "f32le", "--seconds", "1"],
            env=rig.env | {"HOME": str(rig.directory)},
            capture_output=True,
            timeout=30,
            check=True,
        )
        heard = np.frombuffer(done.stdout, "<f4")
        # All but what a loaded machine's graph skipped.
        assert len(heard) == 16_000
        assert np.count_nonzero(np.abs(heard - 0.5) < 5e-3) > 8_000


@pytest.fixture(scope="module")
def system_version() -> str:
    """Of libpipewire, as it is loaded."""
    library = ctypes.CDLL(str(system_library()))
    library.pw_get_library_version.restype = ctypes.c_char_p
    version: bytes = library.pw_get_library_version()
    return version.decode()


def claim(directory: Path, system_version: str, version: str) -> None:
    """Has the system's libpipewire, in that directory, say that it is of that version."""
    older = renamed(system_library().read_bytes(), system_version, version)
    (directory / "libpipewire-0.3.so.0").write_bytes(older)


# Not longer than any version of a library that isn't.
@pytest.mark.parametrize("version", ["0.3.6", "0.3.9", "0.2.7"])
def test_a_libpipewire_that_is_too_old_is_refused_by_name(
    rig: PrivatePipeWire,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system_version: str,
    version: str,
) -> None:
    claim(tmp_path, system_version, version)
    (tmp_path / "alsa.conf").write_text("ctl.default { type hw card 0 }\n")
    env = rig.env | {
        "HOME": str(tmp_path),
        "LD_LIBRARY_PATH": str(tmp_path),
        "ALSA_CONFIG_PATH": str(tmp_path / "alsa.conf"),
    }
    why = f"libpipewire {version} is too old, 0.3.48 or newer is needed"
    assert why in run(env, "sources").stderr
    found = json.loads(run(env, "doctor", "--json").stdout)["checks"]
    (check,) = (check for check in found if check["name"] == "PipeWire")
    assert why in check["meaning"] and "PipeWire 1.0 or newer" in check["remedy"]
    alone = {name: env[name] for name in ("LD_LIBRARY_PATH", "ALSA_CONFIG_PATH")}
    with Engine(rig, **alone) as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        wait_until(lambda: why in (status(rig)["source"]["waiting"] or ""), "the reason")
        with pytest.raises(DeviceError, match=why):
            AudioCapture(engine="service").stream(timeout=2).__enter__()


def test_alsa_captures_where_libpipewire_is_too_old(
    rig: PrivatePipeWire, tmp_path: Path, system_version: str
) -> None:
    claim(tmp_path, system_version, "0.3.9")
    with Engine(rig, LD_LIBRARY_PATH=str(tmp_path), **AlsaMic(tmp_path, level=0.25).env):
        wait_until(lambda: status(rig)["source"]["linked"] == "alsa:default", "ALSA")
        assert "0.3.9 is too old" in status(rig)["source"]["fallback"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_service_is_no_reason_to_hear_nothing(rig: PrivatePipeWire) -> None:
    """Root with a user's environment: not that user's engine, but one of its own."""
    nobody = 65534
    place = rig.directory / "v2m-engine"
    place.mkdir(mode=0o700)
    os.chown(place, nobody, nobody)
    rig.directory.chmod(0o711)
    service = subprocess.Popen(
        [
            *("setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"),
            *(BINARY, "run", "--source", "null:"),
        ],
        env=rig.env | {"HOME": str(place)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until((place / "engine.sock").exists, "the user's service")
        assert "not user 0" in run(rig.env, "status").stderr
        assert client(rig.env)
    finally:
        service.kill()
        service.wait()


# Runs a program where the daemon's directory is that of the whole system.
SYSTEM_WIDE = 'mount -t tmpfs none /run && ln -s "$0" /run/pipewire && exec "$@"'


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a /run of its own")
def test_a_system_wide_daemon_that_comes_back_is_noticed(
    rig: PrivatePipeWire, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}

    def linked() -> Any:
        done = run(env, "status", "--json")
        return json.loads(done.stdout)["source"]["linked"] if done.returncode == 0 else ""

    engine = subprocess.Popen(
        [
            *("unshare", "--mount", "sh", "-c", SYSTEM_WIDE, rig.directory),
            *(BINARY, "run", "--capture", "always", "--alsa-fallback", "off"),
        ],
        env=env,
    )
    try:
        wait_until(lambda: linked() == "rig-mic", "the microphone")
        rig.kill()
        wait_until(lambda: linked() is None, "the loss")
        time.sleep(5)  # by then it isn't tried again and again any more
        # The kernel tells of its return: within its own time, not that of the next attempt.
        watch = subprocess.Popen(
            [
                *("strace", "-f", "-tt", "-q", "-e", "trace=inotify_add_watch,connect"),
                *("-o", tmp_path / "trace", "-p", str(engine.pid)),
            ]
        )
        time.sleep(0.5)
        rig.start()
        wait_until(lambda: linked() == "rig-mic", "the microphone")
        watch.terminate()
        watch.wait()
        assert (tmp_path / "trace").read_text().count('/run/pipewire"') >= 1
    finally:
        engine.terminate()
        engine.wait(15)


def test_a_daemon_without_sound_leaves_it_to_alsa_until_sound_comes(
    rig: PrivatePipeWire, tmp_path: Path
) -> None:
    """PipeWire for screens only: another has the sound."""
    for name in ("rig-mic", "rig-mic-stereo"):
        rig.destroy_node(name)
    with Engine(rig, **AlsaMic(tmp_path, level=0.25).env):
        wait_until(lambda: status(rig)["source"]["linked"] == "alsa:default", "ALSA")
        assert "no sound" in status(rig)["source"]["fallback"]
        rig.create_source("usb-mic")
        wait_until(lambda: status(rig)["source"]["linked"] == "usb-mic", "PipeWire")
        assert status(rig)["source"]["fallback"] is None


@pytest.mark.skipif(
    shutil.which("pipewire-pulse") is None or shutil.which("wireplumber") is None,
    reason="pipewire-pulse or WirePlumber is not installed",
)
def test_where_pulseaudio_has_the_sound_it_is_captured_through_it(tmp_path: Path) -> None:
    """PulseAudio alone, or a sandbox with its socket only."""
    with Session(quantum=256) as session:
        socket = session.rig.directory / "pulse/native"
        own = tmp_path / "run"
        own.mkdir(mode=0o700)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_RUNTIME_DIR": str(own),
            "PULSE_SERVER": f"unix:{socket}",
        }
        engine = subprocess.Popen([BINARY, "run", "--capture", "always"], env=env)

        def source() -> Any:
            done = run(env, "status", "--json")
            return json.loads(done.stdout)["source"] if done.returncode == 0 else {}

        try:
            if has_pulse_plugin():
                wait_until(lambda: source().get("linked") == "alsa:pulse", "PulseAudio")
            else:
                why = wait_until(lambda: source().get("waiting"), "the reason")
                assert "libasound2-plugins" in why and "alsa:hw:CARD" in why
        finally:
            engine.terminate()
            engine.wait(15)


def has_pulse_plugin() -> bool:
    return any(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so"))


def test_without_a_session_manager_the_source_of_the_highest_priority_is_the_default(
    rig: PrivatePipeWire,
) -> None:
    for name, priority in (("lower", 2000), ("higher", 3000), ("lowest", 1000)):
        node = {
            "factory.name": "support.null-audio-sink",
            "media.class": "Audio/Source/Virtual",
            "audio.position": "MONO",
            "adapter.auto-port-config": {"mode": "dsp", "monitor": True, "position": "preserve"},
            "object.linger": True,
            "node.name": name,
            "priority.session": priority,
        }
        rig.tool("pw-cli", "create-node", "adapter", json.dumps(node))

    def starred() -> list[str]:
        listed = json.loads(run(rig.env, "sources", "--json").stdout)
        return [source["name"] for source in listed if source["default"]]

    wait_until(lambda: starred() == ["higher"], "it to be the default")
    with Engine(rig):
        wait_until(lambda: status(rig)["source"]["linked"] == "higher", "its capture")


def test_what_the_document_names_is_there() -> None:
    """Every test that docs/environments.md says shows something."""
    text = (ROOT / "docs/environments.md").read_text()
    named = set(re.findall(r"`((?:tests|packaging)/[\w/.]+)`", text))
    functions = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 10 and functions
    assert [name for name in named if not (ROOT / name).exists()] == []
    source = "".join((ROOT / name).read_text() for name in named if name.endswith((".py", ".rs")))
    assert [name for name in functions if f" {name}(" not in source] == []
