"""Every public name says what it takes, gives and raises: its arguments by name, numbers with
their unit, arrays with their shape and type, and the errors that it raises itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rig import ROOT

PACKAGE = Path(ROOT, "python/v2m_engine")
#: What programs import, and what stands in private modules only to keep those short.
MODULES = [
    PACKAGE / "_native.pyi",
    *(PACKAGE / f"{name}.py" for name in ("_events", "_health", "_many", "_sources", "_vad_event")),
    *(
        PACKAGE / f"compat/{name}.py"
        for name in ("_callback", "_pyaudio_stream", "_sounddevice_stream")
    ),
    *sorted((PACKAGE / "integrations").glob("[a-z]*.py")),
    *sorted((PACKAGE / "compat").glob("[a-z]*.py")),
]
#: What a number counts, or where its values lie.
UNITS = re.compile(
    r"\b(Hz|seconds?|ms|milliseconds|nanoseconds|samples?|frames?|bytes|windows?|positions?|dBFS"
    r"|probabilit(y|ies)|share|number|how many|width|codes?|index|flags?|unit|bits?|cores|threads"
    r"|id|0|1)\b",
    re.IGNORECASE,
)
#: What an array has to say: how long it is, and of what.
SHAPES = re.compile(r"\b(shape|samples?|frames|windows?|bytes)\b", re.IGNORECASE)
TYPES = re.compile(r"\b(float32|int16|bytes|dtype|format)\b")
ARRAYS = re.compile(r"\b(array|NDArray|Samples|memoryview|Buffer)\b")
#: It is said beside, or in what this is shaped like.
ELSEWHERE = re.compile(r"\b(As|See) (`|the module's)|\bas the method\b|: see there")
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


class Function(NamedTuple):
    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef
    #: Its docstring; with its class' for what makes one.
    text: str


def is_public(member: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A property's setter has its getter's docstring."""
    setter = any(ast.unparse(one).endswith(".setter") for one in member.decorator_list)
    return not setter and not member.name.startswith("_")


def documented() -> Iterator[tuple[str, ast.AST, str]]:
    """Public classes and functions, and members of these classes."""
    for module in MODULES:
        for node in ast.parse(module.read_text()).body:
            if not isinstance(node, ast.ClassDef | FUNCTIONS) or node.name.startswith("_"):
                continue
            text = ast.get_docstring(node) or ""
            yield f"{module.stem}.{node.name}", node, text
            for member in node.body if isinstance(node, ast.ClassDef) else ():
                made = getattr(member, "name", "") in ("__init__", "__new__")
                if isinstance(member, FUNCTIONS) and (made or is_public(member)):
                    own = ast.get_docstring(member) or ""
                    name = f"{module.stem}.{node.name}.{member.name}"
                    yield name, member, f"{own}\n{text}" if made else own


def functions() -> Iterator[Function]:
    """But for silero-vad's names, which mean what that package says, and what says where it is
    said."""
    for name, node, text in documented():
        silero = name.startswith("silero_vad.")
        if isinstance(node, FUNCTIONS) and not silero and not ELSEWHERE.search(text):
            yield Function(name, node, text)


def said_of(argument: str, text: str) -> str:
    """What stands of it under Args; where there are none, all that names it."""
    entry = re.search(
        rf"^ *(?:\w+, )*{argument}(?:, \w+)*: (.*(?:\n {{4,}}.*)*)", text, re.MULTILINE
    )
    return entry[1] if entry else text if re.search(rf"\b{argument}\b", text) else ""


def test_everything_says_what_it_is() -> None:
    assert [name for name, _, text in documented() if not text.strip()] == []


def test_arguments_are_named_and_numbers_have_units() -> None:
    for one in functions():
        given = one.node.args
        for argument in [*given.posonlyargs, *given.args, *given.kwonlyargs]:
            if argument.arg not in ("self", "cls"):
                said = said_of(argument.arg, one.text)
                assert said, f"{one.name}: {argument.arg}"
                kind = ast.unparse(argument.annotation) if argument.annotation else ""
                if re.search(r"\b(int|float)\b", kind) and "str" not in kind:
                    elsewhere = re.search(r"\b(as|of)( in| for)? `", said)
                    assert UNITS.search(said) or elsewhere, f"{one.name}: {argument.arg}: {said}"


def test_what_is_given_has_a_unit_or_a_shape() -> None:
    for one in functions():
        kind = ast.unparse(one.node.returns) if one.node.returns else ""
        if re.fullmatch(r"(int|float)( \| None)?", kind):
            assert UNITS.search(one.text), f"{one.name}: {one.text}"
        if ARRAYS.search(kind):
            assert SHAPES.search(one.text) and TYPES.search(one.text), f"{one.name}: {one.text}"


def test_errors_that_are_raised_are_named() -> None:
    for one in functions():
        for node in ast.walk(one.node):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                raised = ast.unparse(node.exc.func)
                if raised[0].isupper():
                    assert raised in one.text, f"{one.name}: {raised}"
