"""Clean roots of Debian and Ubuntu: made once by mmdebstrap, unpacked anew for every test."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
DIST = TREE / "dist"
CACHE = TREE / "target/package/roots"
SPEECH = TREE / "target/rig/speech.f32"

# Uses what is installed in a root: see use.py.
USE = ("/v2m/use.py", "/v2m/tests", "/v2m/speech.f32")

UBUNTU = "http://archive.ubuntu.com/ubuntu"
# What their releases are signed with, which Debian has no package of.
KEYRING = "pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1build1_all.deb"
KEYRING_SHA256 = "c377ccf26964f4c206c05c0bc7adb708e031beb919bb9a0ff63af983d064cd66"
UBUNTU_RELEASES = {"jammy", "noble", "resolute"}

# What a desktop has before the package comes.
DESKTOP = ["pipewire", "pipewire-bin", "python3", "python3-numpy", "python3-venv"]
SYSTEMD = [
    "dbus-user-session",
    "libpam-systemd",
    "man-db",
    "pipewire-alsa",
    "polkitd",
    "procps",
    "rtkit",
    "systemd-sysv",
    "udev",
    "wireplumber",
]


def packages(pattern: str, architecture: str = "") -> list[Path]:
    """The built packages of that pattern, this machine's or `arm64`'s; there must be some."""

    def other(path: Path) -> bool:
        return platform.machine() != "aarch64" and any(
            word in path.name for word in ("arm64", "aarch64")
        )

    found = sorted(path for path in DIST.glob(pattern) if other(path) == bool(architecture))
    make = "make packages" + (f" ARCH={architecture}" if architecture else "")
    assert found, f"no {pattern} in {DIST}: run `{make}`"
    return found


def ubuntu_keyring() -> Path:
    """What the archive is checked by, before a root has it."""
    keyring = CACHE / "ubuntu/usr/share/keyrings/ubuntu-archive-keyring.gpg"
    if not keyring.exists():
        package = CACHE / "ubuntu-keyring.deb"
        fetch = ("/usr/lib/apt/apt-helper", "download-file", f"{UBUNTU}/{KEYRING}")
        subprocess.run([*fetch, package, f"SHA256:{KEYRING_SHA256}"], check=True, timeout=300)
        subprocess.run(["dpkg-deb", "--extract", package, CACHE / "ubuntu"], check=True)
        package.unlink()
    return keyring


def tarball(release: str, booted: bool, architecture: str = "") -> Path:
    """The root's archive; takes a minute the first time, some minutes where it is emulated."""
    kind = ("-booted" if booted else "") + (f"-{architecture}" if architecture else "")
    path = CACHE / f"{release}{kind}.tar"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        include = DESKTOP + (SYSTEMD if booted else [])
        made = path.with_suffix(".new.tar")
        options, mirrors = [], []
        if release in UBUNTU_RELEASES:
            include = [*include, "ubuntu-keyring"]
            options = [f"--keyring={ubuntu_keyring()}"]
            pockets = (release, f"{release}-updates")
            mirrors = [f"deb {UBUNTU} {pocket} main universe" for pocket in pockets]
        subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(include)}"),
                *([f"--architectures={architecture}"] if architecture else []),
                *options,
                # A mirror of Debian's testing may be older than its word is good for.
                '--aptopt=Acquire::Check-Valid-Until "false"',
                *(release, str(made), *mirrors),
            ],
            check=True,
            timeout=1800,
        )
        made.rename(path)
    return path


def new_directory(name: str) -> Path:
    """A new one for a root; its name says which process it is of."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}.{os.getpid()}.", dir=CACHE))


def remove(directory: Path) -> None:
    """Removes a root, unless something is mounted in it, which would be removed with it."""
    mounted = [path for path in mounts() if path.is_relative_to(directory)]
    assert mounted == [], "still mounted"
    shutil.rmtree(directory)


def mounts() -> list[Path]:
    return [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]


def leftovers() -> dict[str, list[str]]:
    """What is there of roots that this process made, or one that has ended since."""

    def over(path: Path) -> bool:
        if not path.is_relative_to(CACHE) or path == CACHE:
            return False
        name = path.relative_to(CACHE).parts[0].split(".")
        made_by = name[1] if len(name) == 3 else ""
        return made_by == str(os.getpid()) or (
            made_by.isdigit() and not Path("/proc", made_by).exists()
        )

    processes = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            processes[process.name] = (process / "root").readlink()
    return {
        "directories": [str(path) for path in CACHE.glob("*") if over(path)],
        "mounts": [str(path) for path in mounts() if over(path)],
        "processes": [f"{pid} in {path}" for pid, path in processes.items() if over(path)],
    }


class Root:
    """A root's directory, what runs in it, and what is in it."""

    def __init__(
        self, directory: Path, release: str, booted: bool = False, architecture: str = ""
    ) -> None:
        self.directory = directory
        self.release = release
        archive = tarball(release, booted, architecture)
        subprocess.run(["tar", "-xf", archive, "-C", directory], check=True)
        shutil.copy("/etc/resolv.conf", directory / "etc/resolv.conf")
        # Nothing in here has to outlive a power cut.
        (directory / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
        # The tests' own, and what of it is compiled already.
        self.give(TREE / "tests/rig", "/v2m/tests/rig")
        for program in ("player", "headset"):
            self.give(TREE / "target/rig" / architecture / program, f"/v2m/target/rig/{program}")
        self.give(SPEECH, "/v2m/speech.f32")
        self.give(TREE / "packaging/tests/use.py", "/v2m/use.py")
        subprocess.run(["chmod", "-R", "a+rX", directory / "v2m"], check=True)
        for program in ("player", "headset"):
            os.utime(directory / "v2m/target/rig" / program)

    def give(self, source: Path, path: str) -> None:
        to = self.directory / path.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, to, dirs_exist_ok=True)
        else:
            shutil.copy(source, to)

    def run(
        self,
        *command: str,
        user: str = "root",
        timeout: float = 300,
        check: bool = True,
        network: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in there, with processes and mounts of its own that end with it; without
        `network` it has not even a loopback device that is up."""
        # A mount itself, so that programs in there can have mounts of their own.
        inside = (
            'mount --bind "$0" "$0" && mount -t proc proc "$0/proc" &&'
            ' mount --rbind /dev "$0/dev" && exec chroot'
        )
        options = [] if user == "root" else [f"--userspec={user}:{user}"]
        done = subprocess.run(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *([] if network else ["--net"]),
                *("sh", "-c", f'{inside} {" ".join(options)} "$0" "$@"', str(self.directory)),
                *("env", f"HOME={'/root' if user == 'root' else '/home/' + user}", *command),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ
            | {
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "DEBIAN_FRONTEND": "noninteractive",
                "LC_ALL": "C.UTF-8",
                "TMPDIR": "/tmp",
                "V2M_ENGINE_BIN": "",
            },
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done

    def apt(self, *arguments: str) -> None:
        self.run("apt-get", "-qq", "-o", "Dpkg::Use-Pty=0", *arguments, timeout=600)

    def install(self, *files: Path) -> None:
        """Installs packages by file, with what they depend on."""
        for file in files:
            self.give(file, f"/v2m/dist/{file.name}")
        self.apt("update")
        names = [f"/v2m/dist/{file.name}" for file in files]
        self.apt("install", "--yes", "--no-install-recommends", *names)

    def allow_sudo(self) -> None:
        """Its user may do everything, and is not asked."""
        self.apt("install", "--yes", "--no-install-recommends", "sudo")
        sudoers = self.directory / "etc/sudoers.d/user"
        sudoers.write_text("user ALL=(ALL) NOPASSWD: ALL\n")
        sudoers.chmod(0o440)

    def files(self) -> set[str]:
        """Everything in there but what package management keeps of its own work."""
        ours = ("v2m/", "proc/", "dev/", "tmp/", "var/cache/", "var/log/", "var/lib/apt/")
        found = set()
        for path in self.directory.rglob("*"):
            name = str(path.relative_to(self.directory))
            if not f"{name}/".startswith(ours) and "/__pycache__" not in name:
                found.add(name)
        return found
