"""Docstrings are in the objects, and say what the stub says."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import v2m_engine
from rig import ROOT

STUB = Path(ROOT, "python/v2m_engine/_native.pyi")


def members(public: ast.ClassDef) -> Iterator[tuple[str, str | None]]:
    """Public members, and what the stub says of each."""
    for member in public.body:
        name = getattr(member, "name", "_")
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and name[0] != "_":
            yield name, ast.get_docstring(member)


def classes() -> Iterator[tuple[type[Any], ast.ClassDef]]:
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ClassDef) and hasattr(v2m_engine, node.name):
            yield getattr(v2m_engine, node.name), node


@pytest.mark.parametrize(
    ("public", "stub"), list(classes()), ids=lambda of: getattr(of, "name", "")
)
def test_help_says_what_the_stub_says(public: type[Any], stub: ast.ClassDef) -> None:
    made = [m for m in stub.body if isinstance(m, ast.FunctionDef) and m.name == "__new__"]
    parts = [ast.get_docstring(stub), *map(ast.get_docstring, made)]
    assert None not in parts
    assert inspect.getdoc(public) == "\n\n".join(map(str, parts))
    for name, said in members(stub):
        assert said, f"{stub.name}.{name}"
        assert inspect.getdoc(inspect.getattr_static(public, name)) == said
    # And nothing public is left out of the stub.
    own = {name for name in vars(public) if not name.startswith("_")}
    stubbed = {name for name, _ in members(stub)}
    if not issubclass(public, Exception):
        assert own == stubbed


def callables() -> Iterator[tuple[Any, ast.FunctionDef]]:
    """What takes arguments, and how the stub says so."""
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.FunctionDef) and hasattr(v2m_engine, node.name):
            yield getattr(v2m_engine, node.name), node
    for public, stub in classes():
        for member in stub.body:
            if not isinstance(member, ast.FunctionDef) or member.decorator_list:
                continue
            if member.name == "__new__":
                yield public, member
            elif not member.name.startswith("_"):
                yield inspect.getattr_static(public, member.name), member


def parameters(of: Any) -> list[tuple[str, Any, Any]]:
    """Name, kind and default of each, but not the object itself."""
    found = inspect.signature(of).parameters.values()
    return [(one.name, one.kind, one.default) for one in found if one.name not in ("self", "cls")]


def stubbed_parameters(stub: ast.FunctionDef) -> list[tuple[str, Any, Any]]:
    """The same, of a function with the stub's arguments."""
    for one in ast.walk(stub.args):
        if isinstance(one, ast.arg):
            one.annotation = None
    return parameters(eval(f"lambda {ast.unparse(stub.args)}: None"))


@pytest.mark.parametrize(
    ("public", "stub"), list(callables()), ids=lambda of: getattr(of, "__qualname__", "")
)
def test_help_shows_the_arguments_of_the_stub(public: Any, stub: ast.FunctionDef) -> None:
    shown, said = parameters(public), stubbed_parameters(stub)
    assert [one[:2] for one in shown] == [one[:2] for one in said]
    for (name, _, shown_default), (_, _, said_default) in zip(shown, said, strict=True):
        assert shown_default is not ..., name
        # What has no literal, a stub leaves open.
        assert said_default in (shown_default, ...), name


def test_every_public_class_is_documented() -> None:
    """Those of the native module in the stub, the others where they are."""
    public = [getattr(v2m_engine, name) for name in v2m_engine.__all__]
    stubbed = {stub.name for _, stub in classes()}
    for one in public:
        if isinstance(one, type):
            native = one.__module__ == "v2m_engine" or issubclass(one, Exception)
            assert (one.__name__ in stubbed) == native
            assert inspect.getdoc(one)
