"""What packages install beside the binary: generated, and checked by those who read it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("V2M_ENGINE_BIN") or TREE / "target/release/v2m-engine")


def run(*command: object, **env: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=TREE,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    run("cargo", "build", "--quiet", "--package", "v2m-generate")
    generate = TREE / "target/debug/v2m-generate"
    run(TREE / "packaging/install.sh", "engine", BINARY, root, GENERATE=str(generate))
    return root


def commands(*of: str) -> list[str]:
    """The subcommands that --help lists, of the program or of a command."""
    listed = run(BINARY, *of, "--help").partition("Commands:\n")[2].partition("\n\n")[0]
    names = [
        line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "
    ]
    return [name for name in names if name != "help"]


def test_every_command_has_its_page(installed: Path) -> None:
    pages = {path.name for path in (installed / "usr/share/man/man1").iterdir()}
    expected = {"v2m-engine.1"}
    for name in commands():
        expected |= {f"v2m-engine-{name}.1"}
        expected |= {f"v2m-engine-{name}-{below}.1" for below in commands(name)}
    assert pages == expected


def test_pages_are_well_formed(installed: Path) -> None:
    pages = sorted((installed / "usr/share/man").rglob("*.[15]"))
    assert len(pages) > 3
    run("mandoc", "-T", "lint", "-W", "error", *pages)
    text = run("mandoc", "-T", "utf8", installed / "usr/share/man/man5/v2m-engine.toml.5")
    # Bold is printed twice over.
    assert "linger = SECONDS" in re.sub(".\b", "", text)


def test_the_installed_configuration_is_read(installed: Path, tmp_path: Path) -> None:
    config = tmp_path / "v2m-engine/config.toml"
    config.parent.mkdir()
    text = (installed / "etc/v2m-engine/config.toml").read_text()
    # Every default, uncommented, is a value that its key takes.
    lines = [line.removeprefix("#") for line in text.splitlines() if not line.startswith("# ")]
    config.write_text("\n".join(lines) + "\n")
    assert "capture = " in config.read_text()
    env = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/proc/self/nowhere"}
    done = subprocess.run(
        [BINARY, "run"],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # It gets as far as the socket.
    assert done.returncode == 1 and "/proc/self/nowhere" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("shell", "file", "ask"),
    [
        ("bash", "bash-completion/completions/v2m-engine", ". {0}; complete -p v2m-engine"),
        (
            "zsh",
            "zsh/vendor-completions/_v2m-engine",
            "autoload -U compinit; compinit -D; . {0}",
        ),
        (
            "fish",
            "fish/vendor_completions.d/v2m-engine.fish",
            ". {0}; complete -C 'v2m-engine '",
        ),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_completions_load(installed: Path, shell: str, file: str, ask: str) -> None:
    assert shutil.which(shell), f"{shell} is not installed: packaging/setup.sh test"
    path = installed / "usr/share" / file
    output = run(shell, "-c", ask.format(path), HOME="/nonexistent")
    assert "rror" not in output, output
    if shell == "fish":
        offered = {line.split("\t")[0] for line in output.splitlines()}
        assert set(commands()) <= offered


def test_shell_scripts_parse() -> None:
    for script in (TREE / "packaging").glob("*.sh"):
        run("sh", "-n", script)
