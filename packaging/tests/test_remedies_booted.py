"""What the doctor advises where a systemd runs, done as it says on a booted Debian: then it
complains no more. Everything else is tried in test_remedies.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from booted import Machine, booted, wait_for
from roots import Root

from rig.remedies import printed

# What is taken away and has to come back; there is no network in there.
REMOVABLE = ("pipewire", "pipewire-bin", "wireplumber", "rtkit")


@pytest.fixture(scope="module")
def machine(prepared: None) -> Iterator[Machine]:
    with booted("remedies-booted", administered) as running:
        yield running


def administered(root: Root) -> None:
    """By its user, who has at hand what has to come back."""
    root.allow_sudo()
    bare = root.directory / "etc/apt/apt.conf.d/90bare"
    bare.write_text('APT::Install-Recommends "false";\n')
    root.apt("install", "--yes", "--reinstall", "--download-only", *REMOVABLE)


def doctor(machine: Machine) -> dict[str, dict[str, Any]]:
    said = machine.user("sh", "-c", "v2m-engine doctor --json 2>/dev/null || true")
    return {check["name"]: check for check in json.loads(said or "")["checks"]}


def is_good(machine: Machine, check: str) -> bool:
    # Of a service that answers, each of its streams is judged instead of all of them.
    found = doctor(machine).get(check)
    return found is None or found["status"] == "good"


def mended(machine: Machine, check: str, name: str) -> None:
    """What the check advises is this, and ends its complaint."""
    found = doctor(machine)[check]
    # Whoever is asked whether to go on says yes.
    machine.user("sh", "-c", f"yes | ( {printed(found, name)}\n)")
    wait_for(lambda: is_good(machine, check), f"{check} to be mended", 60)


def test_pipewire_that_was_stopped(machine: Machine) -> None:
    for unit in ("wireplumber.service", "pipewire.service pipewire.socket"):
        machine.user("systemctl", "--user", "stop", *unit.split())
    mended(machine, "PipeWire", "START_PIPEWIRE")
    machine.user("systemctl", "--user", "disable", "--now", "wireplumber.service")
    mended(machine, "session manager", "START_SESSION_MANAGER")


def test_what_an_error_says_starts_pipewire(machine: Machine) -> None:
    """``sources``, ``run`` and programs say the same."""
    machine.user("systemctl", "--user", "stop", "pipewire.service", "pipewire.socket")
    said = machine.user("sh", "-c", "v2m-engine sources 2>&1 || true") or ""
    assert "start it with systemctl --user start pipewire" in said, said
    machine.user("systemctl", "--user", "start", "pipewire")
    wait_for(lambda: doctor(machine)["PipeWire"]["status"] == "good", "PipeWire")
    # And one that hangs.
    machine.user("systemctl", "--user", "kill", "--signal=STOP", "pipewire.service")
    said = machine.user("sh", "-c", "v2m-engine sources 2>&1 || true") or ""
    assert "restart it with systemctl --user restart pipewire" in said, said
    machine.user("systemctl", "--user", "restart", "pipewire")
    wait_for(lambda: doctor(machine)["PipeWire"]["status"] == "good", "PipeWire")


def test_what_isn_t_installed(machine: Machine) -> None:
    stop, apt = ("systemctl", "--user", "stop"), ("apt-get", "--yes", "remove")
    machine.user(*stop, "wireplumber.service")
    machine.admin(*apt, "wireplumber")
    mended(machine, "session manager", "INSTALL_SESSION_MANAGER")
    machine.user(*stop, "wireplumber.service", "pipewire.service", "pipewire.socket")
    machine.admin(*apt, "wireplumber", "pipewire", "pipewire-bin")
    mended(machine, "PipeWire", "INSTALL_PIPEWIRE")
    assert doctor(machine)["session manager"]["status"] == "good"


def test_rtkit_that_isn_t_installed(machine: Machine) -> None:
    assert doctor(machine)["RTKit"]["meaning"] == "gives up to 20"
    machine.admin("apt-get", "--yes", "remove", "rtkit")
    mended(machine, "RTKit", "INSTALL_RTKIT")


def test_the_service(machine: Machine) -> None:
    unit = "/usr/lib/systemd/user/v2m-engine.service"
    # One that hangs, of the installed unit.
    machine.user("systemctl", "--user", "start", "v2m-engine.service")
    machine.user("systemctl", "--user", "kill", "--signal=STOP", "v2m-engine.service")
    mended(machine, "streams", "RESTART_SERVICE")
    machine.user("systemctl", "--user", "stop", "v2m-engine.service")
    machine.admin("mv", unit, "/root")
    machine.user("systemctl", "--user", "daemon-reload")
    mended(machine, "user unit", "START_SERVICE")
    machine.user("systemctl", "--user", "stop", "v2m-engine.service")
    machine.admin("mv", "/root/v2m-engine.service", unit)


def test_devices_of_who_sits_at_the_machine(machine: Machine) -> None:
    """Nobody can sit at this one: the session that it tells to look at has no seat."""
    said = machine.user("sh", "-c", printed(doctor(machine)["CPU sleep"], "LOG_IN_AT_THE_MACHINE"))
    assert "user" in (said or "")
