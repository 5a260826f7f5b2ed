"""The list of programs that may listen: what the kernel says counts, and the refused are told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rig import BINARY, wait_until
from rig.user import User
from v2m_engine import AudioCapture

RECORD = ("record", "-", "--format", "s16le", "--seconds", "0.2")


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """The same program in another file."""
    path = tmp_path / "stranger"
    shutil.copy(BINARY, path)
    return path


def listens(user: User, program: Path, *before: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*before, str(program), *RECORD], env=user.env, capture_output=True, timeout=30, check=False
    )


def test_only_who_is_named_may_listen_and_others_are_told(user: User, stranger: Path) -> None:
    (user.config / "v2m-engine/config.toml").write_text(f'allow = ["{BINARY}"]\n')
    user.start("--source", "null:")
    assert len(listens(user, BINARY).stdout) == 6400
    refused = listens(user, stranger)
    assert refused.returncode == 1 and refused.stdout == b""
    said = refused.stderr.decode()
    assert str(stranger) in said and "allow" in said and len(said.splitlines()) == 1
    # What it claims to be is nothing to go by.
    liar = listens(user, stranger, "bash", "-c", f'exec -a {BINARY} "$@"', "-")
    assert liar.returncode == 1 and liar.stdout == b""
    # Who looks how the engine is hears nothing.
    done = subprocess.run([stranger, "status"], env=user.env, capture_output=True, timeout=30)
    assert done.returncode == 0
    assert user.status()["clients"] == 0


def test_who_is_refused_gets_no_private_engine_instead(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.start("--source", "null:", "--allow", "/usr/bin/nothing", "--allow", str(BINARY))
    for name, value in user.env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Exception, match=Path(sys.executable).resolve().name + " may not listen"):
        AudioCapture().stream(timeout=5).__enter__()


def test_a_program_that_was_replaced_has_to_be_started_again(user: User, stranger: Path) -> None:
    user.start("--source", "null:", "--allow", str(stranger))
    running = subprocess.Popen(
        [stranger, "listen"], env=user.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: user.status()["clients"] == 1, "it to listen")
    # As an upgrade does.
    new = stranger.with_suffix(".new")
    shutil.copy(BINARY, new)
    new.rename(stranger)
    assert len(listens(user, stranger).stdout) == 6400
    wait_until(lambda: user.status()["clients"] < 2, "the end of the new one")
    assert user.status()["clients"] == 1, "who listens already goes on"
    running.kill()
    running.wait()


@pytest.mark.parametrize("value", ['["python3"]', '"python3"', "[3]"])
def test_what_is_no_list_of_paths_is_refused(user: User, value: str) -> None:
    (user.config / "v2m-engine/config.toml").write_text(f"allow = {value}\n")
    done = user.command("run", "--source", "null:")
    assert done.returncode in (1, 2) and "allow" in done.stderr, done.stderr
