"""The RPMs: checked, and installed into an empty root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from roots import TREE, new_directory, packages, remove

BINARY_PACKAGES = "*engine-[0-9]*.rpm"


@pytest.fixture
def empty(prepared: None) -> Iterator[Path]:
    directory = new_directory("empty")
    yield directory
    remove(directory)


def test_rpmlint_finds_no_fault(run: Callable[..., str]) -> None:
    filters = TREE / "packaging/rpm/rpmlint.toml"
    output = run(
        "rpmlint", "--config", filters, TREE / "packaging/rpm/v2m-engine.spec", *packages("*.rpm")
    )
    assert " 0 errors, 0 warnings" in output, output


def test_the_library_is_installed_and_erased(run: Callable[..., str], empty: Path) -> None:
    files = packages("libv2m1-*.rpm") + packages("v2m-devel-*.rpm")
    names = [run("rpm", "-qp", "--queryformat=%{NAME}", file).strip() for file in files]
    assert sorted(names) == ["libv2m1", "v2m-devel"]
    run("rpm", "--root", empty, "--initdb")
    run("rpm", "--root", empty, "--install", "--nodeps", *files)
    assert run("rpm", "--root", empty, "--verify", "--nodeps", *names) == ""
    (library,) = empty.rglob("libv2m.so")
    assert library.resolve().name == "libv2m.so.1" and (empty / "usr/include/v2m.h").is_file()
    wanted = run("rpm", "-qp", "--requires", *files)
    assert "libpipewire" not in wanted and "libasound" not in wanted
    run("rpm", "--root", empty, "--erase", *names)
    assert not list(empty.rglob("*v2m*"))


def test_installed_verified_erased(run: Callable[..., str], empty: Path) -> None:
    files = packages(BINARY_PACKAGES)
    assert len(files) == 2
    run("rpm", "--root", empty, "--initdb")
    before = {path for path in empty.rglob("*")}
    # The root has nothing that they could depend on.
    run("rpm", "--root", empty, "--install", "--nodeps", *files)
    names = [run("rpm", "-qp", "--queryformat=%{NAME}", file).strip() for file in files]
    assert run("rpm", "--root", empty, "--verify", "--nodeps", *names) == ""
    for path in (
        "usr/bin/v2m-engine",
        "usr/lib/systemd/user/v2m-engine.socket",
        "usr/lib/udev/rules.d/60-v2m-engine.rules",
        "etc/v2m-engine/config.toml",
    ):
        assert (empty / path).is_file(), path
    assert list(empty.rglob("_native.abi3.so")) and list(empty.rglob("v2m-engine.toml.5*"))
    wanted = run("rpm", "-qp", "--requires", *files)
    assert "libpipewire-0.3.so.0" in wanted and "libasound.so.2" in wanted
    # The module itself needs neither.
    module = next(file for file in files if file.name.startswith("python3"))
    assert "libasound" not in run("rpm", "-qp", "--requires", module)

    run("rpm", "--root", empty, "--erase", *names)
    left = {path for path in empty.rglob("*")} - before
    assert not [path for path in left if "v2m" in path.name]
