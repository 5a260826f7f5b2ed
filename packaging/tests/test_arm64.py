"""The packages for arm64: checked here, installed and used in a root whose programs qemu runs.

What this shows is that the code is right for the architecture: instructions, sizes of types,
calls of the system and of libraries. Neither how fast it is nor whether the memory's order holds:
qemu keeps this machine's, which is stricter.
"""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from roots import TREE, USE, Root, packages

CROSS = TREE / "packaging/cross.sh"
# Emulated programs take some ten times as long.
PATIENCE = "V2M_TEST_PATIENCE=10"
# Debian's, with Python 3.14 and PipeWire 1.6.
RELEASE, PYTHON, PIPEWIRE = "forky", "3.14", "1.6"
ELF = "AArch64"


@pytest.fixture(scope="session")
def emulated(prepared: None) -> None:
    """What is needed to run arm64's programs, and those of the tests' own."""
    for program in ("player", "headset"):
        source, made = f"tests/rig/{program}.c", f"target/rig/arm64/{program}"
        compiled = (
            f"mkdir -p target/rig/arm64 && $CC -O2 -w -o {made} {source}"
            " $(pkg-config --cflags --libs libpipewire-0.3)"
        )
        subprocess.run([CROSS, "sh", "-c", compiled], check=True, timeout=1800)


@pytest.fixture
def there(emulated: None, root: Callable[..., Root]) -> Root:
    """A root of arm64, with a user."""
    made = root(RELEASE, "arm64")
    assert made.run("uname", "-m").stdout.strip() == "aarch64"
    # It has no useradd.
    made.run(
        *("sh", "-euc"),
        "echo user:x:1000:1000::/home/user:/bin/sh >>/etc/passwd; echo user:x:1000: >>/etc/group;"
        " install --directory --owner=user --group=user /home/user",
    )
    return made


def machines(run: Callable[..., str], directory: Path) -> set[str]:
    """What the programs and libraries below a directory are for."""
    elf = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    elf = [path for path in elf if path.read_bytes()[:4] == b"\x7fELF"]
    assert elf
    headers = run("readelf", "--file-header", *elf).splitlines()
    return {line.split(":")[1].strip() for line in headers if "Machine:" in line}


# Forky's util-linux has no script(1), which one test takes a terminal from.
BUT = "-- --skip terminal::tests::a_panic_gives_the_terminal_back"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("package", ["ring", "dsp", "client", f"engine --lib {BUT}"])
def test_the_crates_own_tests(run: Callable[..., str], package: str) -> None:
    """Among them: the speech detector's NEON path gives what the reference does. Of drawn inputs
    fewer than elsewhere."""
    fewer = ("env", "PROPTEST_CASES=16")
    tests = f"v2m-{package}".split()
    run(CROSS, *fewer, "cargo", "test", "--locked", "-p", *tests, timeout=3500)


def test_lintian_finds_no_fault(run: Callable[..., str]) -> None:
    options = ("--allow-root", "--no-tag-display-limit", "--fail-on=error,warning")
    run("lintian", *options, *packages("*.deb", "arm64"))


def test_the_rpm_is_for_arm64(run: Callable[..., str], tmp_path: Path) -> None:
    files = packages("*.rpm", "arm64")
    assert len(files) == 4, files
    for file in files:
        run("sh", "-c", f'cd {tmp_path} && rpm2cpio "$0" | cpio -idm --quiet', file)
    assert machines(run, tmp_path) == {ELF}
    filters = TREE / "packaging/rpm/rpmlint.toml"
    assert " 0 errors, 0 warnings" in run("rpmlint", "--config", filters, *files)
    wanted = run("rpm", "-qp", "--requires", *files)
    assert "libpipewire-0.3.so.0" in wanted and "libv2m1(aarch-64) =" in wanted


@pytest.mark.parametrize("python", ["cp311-abi3", "cp314-cp314t", "cp315-abi3.abi3t"])
def test_the_wheel_runs_on_older_systems(
    run: Callable[..., str], tmp_path: Path, python: str
) -> None:
    tag = "manylinux_2_28_aarch64"
    (wheel,) = packages(f"*-{python}-{tag}.whl", "arm64")
    system = ("--exclude=libpipewire-0.3.so.0", "--exclude=libasound.so.2")
    # By name it takes this machine's platforms only.
    run("auditwheel", "repair", "--plat=auto", *system, f"-w{tmp_path}", wheel)
    (repaired,) = tmp_path.glob("*.whl")
    assert repaired.name == wheel.name
    zipfile.ZipFile(wheel).extractall(tmp_path / "wheel")
    assert machines(run, tmp_path / "wheel") == {ELF}


def used(output: str) -> None:
    said = json.loads(output.splitlines()[-1])
    assert said["python"].startswith(PYTHON) and said["pipewire"].startswith(PIPEWIRE), said


@pytest.mark.timeout(1800)
def test_the_deb_hears_pipewire(there: Root) -> None:
    there.install(*packages("*engine_*.deb", "arm64"))
    used(there.run("env", PATIENCE, "python3", *USE, user="user", timeout=900).stdout)
    there.apt("purge", "--yes", "v2m-engine", "python3-v2m-engine")
    assert not [name for name in there.files() if "v2m" in name and "var/lib/dpkg/" not in name]


@pytest.mark.timeout(1800)
def test_the_wheel_hears_pipewire(there: Root) -> None:
    (wheel,) = packages("*-abi3-*.whl", "arm64")
    there.give(wheel, f"/v2m/dist/{wheel.name}")
    there.run("python3", "-m", "venv", "/v2m/venv", timeout=900)
    install = ("/v2m/venv/bin/pip", "install", "--no-index", f"/v2m/dist/{wheel.name}")
    there.run(*install, timeout=900)
    there.apt("update")
    # The desktop's own, which the wheel takes from the system.
    there.apt("install", "--yes", "--no-install-recommends", "libasound2t64")
    path = "PATH=/v2m/venv/bin:/usr/bin:/bin"
    used(there.run("env", PATIENCE, path, "python", *USE, user="user", timeout=900).stdout)
