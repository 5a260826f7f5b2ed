"""A clean Debian root that is entered and stays so: what runs in there goes on from command to
command, and ends with it. It has devices of its own, and a user who may do everything by sudo."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from roots import Root

# A /proc and a /dev that nothing of this machine is reached by.
ENTER = """
mount -t proc proc "$0/proc"
mount -t tmpfs -o mode=755 none "$0/dev"
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    set -- $node
    mknod -m 666 "$0/dev/$1" c "$2" "$3"
done
mkdir "$0/dev/shm" && chmod 1777 "$0/dev/shm"
mount -t tmpfs -o mode=755 none "$0/run"
mkdir -p "$0/run/user/1000" && chown 1000:1000 "$0/run/user/1000" && chmod 700 "$0/run/user/1000"
mount -t sysfs -o ro none "$0/sys" 2>/dev/null || true
exec chroot "$0" sleep infinity
"""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Entered:
    """A context manager."""

    def __init__(self, root: Root) -> None:
        self.root = root
        root.allow_sudo()
        root.apt("install", "--yes", "--no-install-recommends", "mount", "procps")
        root.run("useradd", "--create-home", "--uid=1000", "--shell=/bin/bash", "user")
        (root.directory / "etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")

    def __enter__(self) -> Entered:
        self.process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork"),
                *("--kill-child", "sh", "-ec", ENTER, str(self.root.directory)),
            ]
        )
        self.first = ""
        while not self._is_ready():
            assert self.process.poll() is None, "the root can't be entered"
        return self

    def _is_ready(self) -> bool:
        pid = self.process.pid
        self.first = Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
        try:
            return Path(f"/proc/{self.first}/comm").read_text() == "sleep\n"
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def admin(self, script: str, check: bool = True, timeout: float = 600) -> str:
        """Runs it as root; what it prints, errors included."""
        # Not by a pipe, which what goes on in there would keep open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [
                    *("nsenter", "--target", self.first, "--mount", "--pid", "--root", "--wd"),
                    *("env", "-i", f"PATH={PATH}", "LC_ALL=C.UTF-8", "HOME=/root"),
                    *("sh", "-c", script),
                ],
                # Who is asked whether to go on says yes.
                input="y\n" * 20,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                check=False,
            )
            output.seek(0)
            said = output.read()
        assert done.returncode == 0 or not check, f"{script}\n{said}"
        return said

    def user(self, script: str, check: bool = True, within: str = "") -> str:
        """Runs it in a session that the user logs in to; ``within``: what runs that session."""
        file = self.root.directory / "tmp/script"
        file.write_text(f"{script}\n")
        file.chmod(0o755)
        login = "su --login user --command 'sh /tmp/script'"
        return self.admin(f"{within} {login}", check)

    def doctor(self, before: str = "", after: str = "") -> dict[str, dict[str, Any]]:
        """What it finds in a new session, by name; the scripts run around it in the same."""
        said = self.user(f"{before}\nv2m-engine doctor --json 2>/dev/null\n{after}", check=False)
        report, _ = json.JSONDecoder().raw_decode(said[said.index("{\n") :])
        return {check["name"]: check for check in report["checks"]}
