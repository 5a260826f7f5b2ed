"""The package on a booted Debian, from installing it to upgrading it, in this order."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from booted import Client, Machine, booted, wait_for
from roots import Root, packages

# RTKit grants real time to who sits at the machine. Our user is logged in from nowhere.
AT_THE_MACHINE = """
polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.freedesktop.RealtimeKit1.") == 0 && subject.user == "user")
        return polkit.Result.YES;
});
"""


NEXT_REVISION = "+next"


def sits_at_the_machine(root: Root) -> None:
    (root.directory / "etc/polkit-1/rules.d/50-test.rules").write_text(AT_THE_MACHINE)


def plug_in(machine: Machine, name: str, *properties: str) -> None:
    """A virtual microphone."""
    always = ("factory.name=support.null-audio-sink", "media.class=Audio/Source/Virtual")
    more = ("audio.position=MONO", "object.linger=true", f"node.name={name}", *properties)
    node = " ".join(("{", *always, *more, "}"))
    machine.user("pw-cli", "create-node", "adapter", node)


@pytest.fixture(scope="module")
def machine(prepared: None) -> Iterator[Machine]:
    with booted("booted", sits_at_the_machine) as running:
        plug_in(running, "rig-mic", "priority.session=2000")
        running.user(
            *("systemd-run", "--user", "--quiet", "--collect", "--unit=player"),
            *("/v2m/target/rig/player", "--impulses", "7", "rig-mic"),
        )
        yield running


@pytest.fixture
def client(machine: Machine) -> Iterator[Client]:
    client = Client(machine, "service")
    yield client
    client.stop()


def pid(machine: Machine) -> int:
    return int(machine.unit("MainPID"))


def restarted(machine: Machine, before: int) -> bool:
    return machine.unit("ActiveState") == "active" and pid(machine) not in (0, before)


def test_units_are_clean_and_not_enabled(machine: Machine) -> None:
    units = ("v2m-engine.service", "v2m-engine.socket")
    assert machine.user("systemd-analyze", "--user", "verify", *units) == ""
    machine.admin("udevadm", "verify", "/usr/lib/udev/rules.d/60-v2m-engine.rules")
    # is-enabled fails for what isn't.
    enabled = machine.user("systemctl", "--user", "is-enabled", units[1], check=False)
    assert enabled is None
    assert machine.unit("ActiveState") == "inactive"


def test_without_the_service_a_client_has_its_own_engine(machine: Machine) -> None:
    client = Client(machine)
    try:
        assert all(private is not None for *_, private in client.more())
    finally:
        client.stop()


def test_the_first_client_starts_the_service(machine: Machine) -> None:
    machine.user("systemctl", "--user", "enable", "--now", "v2m-engine.socket")
    assert machine.unit("ActiveState") == "inactive"
    client = Client(machine)
    try:
        heard = [chunk for _ in range(3) for chunk in client.more()]
        assert all(private is None for *_, private in heard)
        assert max(loudest for *_, loudest, _ in heard) > 0.01
        assert machine.unit("ActiveState") == "active"
        assert machine.unit("StatusText").startswith("capturing rig-mic")
        status = machine.status()
        assert status["service"] and status["source"]["server_version"].startswith("1.4")
        # Real time, through RTKit: the limits give this user none.
        assert machine.unit("LimitRTPRIO") == "0"
        wait_for(lambda: real_time(machine), "a real-time audio thread")
    finally:
        client.stop()
    wait_for(lambda: machine.status()["state"] == "idle", "the microphone to be left alone")
    # What it logs goes to the journal with its level.
    journal = machine.admin(
        "journalctl", "--quiet", "--output=json", "SYSLOG_IDENTIFIER=v2m-engine"
    )
    assert '"PRIORITY":"' in (journal or "") and "capturing rig-mic" in (journal or "")


def real_time(machine: Machine) -> bool:
    scheduling = machine.status()["source"]["scheduling"] or ""
    return scheduling.startswith(("fifo", "round robin"))


def test_the_sandbox_and_the_limits_are_in_force(machine: Machine, client: Client) -> None:
    client.more()
    assert machine.unit("RestrictSUIDSGID") == "yes" and machine.unit("LimitCORE") == "0"
    assert machine.unit("TasksMax") == "128" and machine.unit("MemoryMax") == str(2 << 30)
    allowed = machine.unit("SystemCallFilter").split()
    assert "sched_setscheduler" in allowed
    assert not {"chown", "keyctl", "setuid", "io_uring_setup", "mbind"} & set(allowed)


def test_others_can_route_to_the_node(machine: Machine, client: Client) -> None:
    client.more()
    inputs = machine.user("pw-link", "--input") or ""
    assert "v2m-engine:input" in inputs
    assert "v2m-engine" in (machine.user("wpctl", "status", "--name") or "")
    plug_in(machine, "other")
    wait_for(
        lambda: "other:capture_MONO" in (machine.user("pw-link", "--output") or ""), "its port"
    )
    machine.user("pw-link", "other:capture_MONO", "v2m-engine:input")
    wait_for(
        lambda: (machine.user("pw-link", "--links") or "").count("-> v2m-engine:input") == 2,
        "both links",
    )
    machine.user("pw-link", "--disconnect", "other:capture_MONO", "v2m-engine:input")
    client.more()


def test_a_killed_service_comes_back_and_its_client_goes_on(
    machine: Machine, client: Client
) -> None:
    client.more()
    before = pid(machine)
    begin = len(client.chunks)
    machine.user("systemctl", "--user", "kill", "-s", "KILL", "v2m-engine.service")
    wait_for(lambda: restarted(machine, before), "the restart")
    client.more(20)
    assert goes_on_with_a_gap(client, begin)


def goes_on_with_a_gap(client: Client, begin: int) -> bool:
    """Whether a new ring follows the old one, its first chunk flagged."""
    pairs = pairwise(client.chunks[begin - 1 :])
    (first,) = [after for before, after in pairs if after[0] < before[0]]
    return first[1]


def test_the_watchdog_restarts_an_engine_that_hangs(machine: Machine, client: Client) -> None:
    client.more()
    before = pid(machine)
    begin = len(client.chunks)
    machine.user("systemctl", "--user", "kill", "-s", "STOP", "v2m-engine.service")
    wait_for(lambda: restarted(machine, before), "the restart", seconds=90)
    client.more(20)
    assert goes_on_with_a_gap(client, begin)
    journal = machine.admin("journalctl", "--quiet", "--grep=Watchdog timeout")
    assert "v2m-engine.service" in (journal or "")


def test_an_upgrade_leaves_a_reading_client_alone(
    machine: Machine, client: Client, tmp_path: Path
) -> None:
    client.more()
    before = pid(machine)
    newer = [repacked(package, tmp_path) for package in packages("*engine_*.deb")]
    for package in newer:
        machine.root.give(package, f"/v2m/newer/{package.name}")
    machine.admin("dpkg", "--install", *(f"/v2m/newer/{package.name}" for package in newer))
    installed = machine.admin("dpkg-query", "--show", "v2m-engine") or ""
    assert installed.strip().endswith(NEXT_REVISION)
    begin = len(client.chunks)
    client.more(20)
    during = client.chunks[begin - 10 :]
    assert pid(machine) == before
    assert all(b[0] - a[0] == 1600 for a, b in pairwise(during))
    # When it suits, the user takes the new one.
    machine.user("systemctl", "--user", "restart", "v2m-engine.service")
    wait_for(lambda: restarted(machine, before), "the restart")
    client.more(20)


def repacked(package: Path, scratch: Path) -> Path:
    """The same package as a later revision."""
    tree = scratch / package.stem
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    name, version, rest = package.name.split("_")
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(version, version + NEXT_REVISION))
    newer = scratch / f"{name}_{version}{NEXT_REVISION}_{rest}"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, newer], check=True)
    return newer


def test_stopping_is_clean(machine: Machine, client: Client) -> None:
    client.more()
    client.stop()
    machine.user("systemctl", "--user", "kill", "-s", "TERM", "v2m-engine.service")
    wait_for(lambda: machine.unit("ActiveState") == "inactive", "the end")
    assert machine.unit("Result") == "success"
