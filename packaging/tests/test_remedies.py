"""What the doctor advises, done as it says in a bare Debian root without a systemd: then it
complains no more. What takes a systemd is tried in test_remedies_booted.py."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from entered import Entered
from roots import Root, new_directory, packages, remove

from rig.remedies import printed

# Another kernel, and another login's limits, as the environment has them.
ANOTHER_MACHINE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

int uname(struct utsname *u) {
    memset(u, 0, sizeof *u);
    snprintf(u->sysname, sizeof u->sysname, "Linux");
    snprintf(u->release, sizeof u->release, "%s", getenv("RELEASE"));
    snprintf(u->version, sizeof u->version, "%s", getenv("BUILD"));
    return 0;
}

int getrlimit64(__rlimit_resource_t resource, struct rlimit64 *limit) {
    const char *set = getenv(resource == RLIMIT_RTPRIO ? "RTPRIO" :
                             resource == RLIMIT_MEMLOCK ? "MEMLOCK" : "");
    int (*system)(int, struct rlimit64 *) = dlsym(RTLD_NEXT, "getrlimit64");
    if (!set)
        return system(resource, limit);
    limit->rlim_cur = limit->rlim_max = strtoull(set, NULL, 10);
    return 0;
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit) {
    return getrlimit64(resource, (struct rlimit64 *)limit);
}
"""

ANOTHER_RELEASE = 'ID=ubuntu\nVERSION_CODENAME="jammy"\n'

GRUB_PROBE = """#!/bin/sh
case "$*" in *target=device*) echo /dev/vda1;; *target=fs*) echo ext2;; esac
"""


# Runs what follows beside a udev, which hears of devices in a network of its own.
UDEV = """unshare --net --mount --propagation unchanged sh -c '
mount -t sysfs none /sys
/lib/systemd/systemd-udevd --daemon
"$@"
udevadm settle
pkill systemd-udevd' sh"""


@pytest.fixture(scope="module")
def place(prepared: None) -> Iterator[Entered]:
    directory = new_directory("remedies")
    try:
        root = Root(directory, "bookworm")
        root.install(*packages("*engine_*.deb"))
        with Entered(root) as place:
            yield place
    finally:
        remove(directory)


@pytest.fixture(scope="module")
def another_machine(place: Entered, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What has programs see another machine: that of the variables that follow."""
    source = tmp_path_factory.mktemp("machine") / "another.c"
    source.write_text(ANOTHER_MACHINE)
    library = place.root.directory / "usr/lib/another.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    kernel = 'RELEASE="6.12.0" BUILD="#1 SMP PREEMPT_DYNAMIC"'
    return f"export LD_PRELOAD=/usr/lib/another.so {kernel} "


def limits_of_a_login(place: Entered) -> str:
    """What a login asks the kernel for: not everywhere a root may have more than it has."""
    trace = place.root.directory / "tmp/trace"
    login = "su --login user --command true"
    place.admin(f"strace -f -o /tmp/trace -e trace=prlimit64 {login}")
    asked = {}
    for name in ("RTPRIO", "MEMLOCK"):
        pattern = rf"RLIMIT_{name}, {{rlim_cur=[^,]+, rlim_max=([\d*]+)}}"
        # 65536*1024, as it is printed.
        factors = re.findall(pattern, trace.read_text())[-1].split("*")
        asked[name] = math.prod(map(int, factors))
    return f"RTPRIO={asked['RTPRIO']} MEMLOCK={asked['MEMLOCK']} "


def test_limits(place: Entered, another_machine: str) -> None:
    place.admin("apt-get install --yes --no-install-recommends strace")
    found = place.doctor(another_machine + "RTPRIO=0 MEMLOCK=1048576")
    # Without a system bus no RTKit can be asked.
    printed(found["RTKit"], "ALLOW_REAL_TIME")
    place.user(printed(found["RT limits"], "ALLOW_REAL_TIME"))
    place.user(printed(found["memory"], "ALLOW_LOCKED_MEMORY"))
    found = place.doctor(another_machine + limits_of_a_login(place))
    assert {found[name]["status"] for name in ("RT limits", "RTKit", "memory")} == {"good"}, found


def test_devices(place: Entered) -> None:
    number = Path("/sys/class/misc/cpu_dma_latency/dev").read_text().strip().replace(":", " ")
    place.admin(
        "mkdir /dev/snd; install -g audio -m 660 /dev/null /dev/snd/pcmC0D0c;"
        f"mknod -m 600 /dev/cpu_dma_latency c {number};"
        "rm /usr/lib/udev/rules.d/60-v2m-engine.rules; apt-get install --yes udev"
    )
    found = place.doctor()
    remedy = printed(found["sound cards"], "JOIN_GROUP_AUDIO")
    assert remedy == printed(found["groups"], "JOIN_GROUP_AUDIO")
    place.user(remedy)
    found = place.doctor()
    assert found["sound cards"]["status"] == found["groups"]["status"] == "good", found
    remedy = printed(found["udev rules"], "INSTALL_UDEV_RULES")
    assert remedy == printed(found["CPU sleep"], "INSTALL_UDEV_RULES")
    place.user(remedy, within=UDEV)
    found = place.doctor()
    assert found["udev rules"]["status"] == found["CPU sleep"]["status"] == "good", found


def test_without_the_group_rules_alone_are_not_enough(place: Entered) -> None:
    place.admin(
        "gpasswd --delete user audio; chgrp audio /dev/cpu_dma_latency;"
        "chmod 660 /dev/cpu_dma_latency"
    )
    remedy = printed(place.doctor()["CPU sleep"], "JOIN_GROUP_AUDIO")
    place.user(remedy)
    assert place.doctor()["CPU sleep"]["status"] == "good"


def test_a_session_that_nothing_was_started_in(place: Entered) -> None:
    place.admin("apt-get install --yes --no-install-recommends wireplumber dbus")
    place.admin("rm --force /usr/lib/systemd/user/v2m-engine.service")
    # WirePlumber 0.4 ends without a login manager, of which elogind is one.
    logins = "/run/systemd/seats /run/systemd/sessions /run/systemd/users /run/systemd/machines"
    place.admin(f"mkdir --parents {logins}")
    here = printed(place.doctor()["PipeWire"], "SET_RUNTIME_DIRECTORY")

    def mended(check: str, name: str) -> None:
        found = place.doctor(here)[check]
        assert found["status"] != "good"
        place.user(f"{here}\n{printed(found, name)}\nsleep 2")
        found = place.doctor(here)[check]
        assert found["status"] == "good", found

    mended("PipeWire", "START_PIPEWIRE_BY_HAND")
    assert place.doctor(here)["session manager"]["status"] == "good"
    place.admin("pkill -x wireplumber; while pgrep -x wireplumber; do sleep 0.1; done")
    mended("session manager", "START_SESSION_MANAGER_BY_HAND")
    mended("user unit", "START_SERVICE_BY_HAND")
    place.admin("pkill -STOP -x v2m-engine")
    mended("streams", "KILL_SERVICE")
    # The desktop sees it from PipeWire 1.0 on.
    release = place.root.directory / "usr/lib/os-release"
    debian = release.read_text()
    release.write_text(ANOTHER_RELEASE)
    printed(place.doctor(here)["visibility"], "NEWER_PIPEWIRE")
    release.write_text(debian)
    old = place.doctor(here)["visibility"]
    place.user(printed(old, "BACKPORT_PIPEWIRE"))
    place.admin("pkill -x wireplumber; pkill -x pipewire; sleep 1")
    mended("PipeWire", "START_PIPEWIRE_BY_HAND")
    assert place.doctor(here)["visibility"]["status"] == "good"
    place.admin("rm --recursive /run/systemd")


def test_speech_detection(place: Entered) -> None:
    config = "~/.config/v2m-engine/config.toml"
    write = "mkdir -p ~/.config/v2m-engine; printf '[vad]\\n%s\\n' '{0}' >" + config
    place.user(write.format('backend = "ort"'))
    remedy = printed(place.doctor()["speech"], "NATIVE_DETECTOR")
    place.user(write.format(remedy.split("[vad]: ")[1].split("   #")[0]))
    assert place.doctor()["speech"]["status"] == "good"
    place.user(f"rm {config}")


def installed_kernel(place: Entered) -> tuple[str, str]:
    """Release and build of the newest, as its image says."""
    images = sorted(
        (place.root.directory / "boot").glob("vmlinuz-*"), key=lambda p: p.stat().st_ctime
    )
    image = images[-1].read_bytes()
    # The kernel's boot protocol: the header says where, from the second sector on.
    text = image[0x200 + int.from_bytes(image[0x20E:0x210], "little") :][:200]
    release, _, build = text.partition(b"\0")[0].decode().partition(" ")
    return release, build.partition(") ")[2]


def test_kernels(place: Entered, another_machine: str) -> None:
    # An initial file system for each takes minutes, and nothing is booted.
    place.admin(
        "dpkg-divert --local --rename --add /usr/sbin/update-initramfs && "
        "ln -s /bin/true /usr/sbin/update-initramfs"
    )
    recommends = place.root.directory / "etc/apt/apt.conf.d/90bare"
    recommends.write_text('APT::Install-Recommends "false";\n')
    # One that can't be preempted.
    found = place.doctor(another_machine + 'RELEASE="6.8.0" BUILD="#1 SMP Debian 6.8"')
    place.user(printed(found["preemption"], "INSTALL_REAL_TIME_KERNEL"))
    release, build = installed_kernel(place)
    assert (
        place.doctor(another_machine + f'RELEASE="{release}" BUILD="{build}"')["preemption"][
            "status"
        ]
        == "good"
    ), build
    # One from before the futex by io_uring.
    found = place.doctor(
        another_machine + 'RELEASE="6.1.0" BUILD="#1 SMP PREEMPT_DYNAMIC Debian 6.1"'
    )
    place.user(printed(found["wake-ups"], "BACKPORT_KERNEL"))
    release, build = installed_kernel(place)
    assert (
        place.doctor(another_machine + f'RELEASE="{release}" BUILD="{build}"')["wake-ups"]["status"]
        == "good"
    ), release


def test_a_kernel_that_could_be_preempted(place: Entered, another_machine: str) -> None:
    place.admin(
        "apt-get install --yes --no-install-recommends grub2-common grub-pc-bin;"
        "mkdir --parents /boot/grub"
    )
    # A bare root is on no device.
    probe = place.root.directory / "usr/sbin/grub-probe"
    probe.write_text(GRUB_PROBE)
    defaults = place.root.directory / "etc/default/grub"
    defaults.write_text(
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="ro preempt=voluntary"\n'
    )
    now = another_machine + 'RELEASE="6.12.0" BUILD="#1 SMP PREEMPT_DYNAMIC Debian 6.12"'
    place.admin(
        "echo quiet preempt=voluntary >/tmp/cmdline; mount --bind /tmp/cmdline /proc/cmdline"
    )
    place.user(printed(place.doctor(now)["preemption"], "PREEMPT_FULLY"))
    # What it will be booted with.
    written = place.admin("grep --max-count 1 vmlinuz /boot/grub/grub.cfg")
    place.admin(f"echo '{written.strip()}' >/tmp/cmdline")
    assert place.doctor(now)["preemption"]["status"] == "good", written


def test_io_uring(place: Entered) -> None:
    switch = "/proc/sys/kernel/io_uring_disabled"
    place.admin(f"echo 2 >/tmp/io; mount --bind /tmp/io {switch}")
    place.user(printed(place.doctor()["wake-ups"], "ALLOW_IO_URING"))
    assert place.doctor()["wake-ups"]["status"] == "good"


def test_where_no_command_is_known(place: Entered, another_machine: str) -> None:
    """Another distribution's, or a release that has no backports of these."""
    release = place.root.directory / "usr/lib/os-release"
    release.write_text(ANOTHER_RELEASE)
    found = place.doctor(another_machine + 'RELEASE="5.15.0" BUILD="#1 SMP PREEMPT_DYNAMIC"')
    printed(found["wake-ups"], "NEWER_KERNEL")
