"""The settings that an object was made with, which are its attributes of their names: what is
shown of it, and what is pickled."""

from __future__ import annotations

import copyreg
import inspect
from typing import Any

from ._native import AudioCapture, VADProcessor


def of(made: object) -> dict[str, Any]:
    """The arguments that make another like it."""
    names = inspect.signature(type(made)).parameters
    return {name: getattr(made, name) for name in names}


def shown(made: object) -> str:
    """The expression that makes another like it: arguments without a name, and what was changed."""
    usual, parameters = of(type(made)()), inspect.signature(type(made)).parameters
    settings = (
        f"{name}={value!r}"
        for name, value in of(made).items()
        if parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY or value != usual[name]
    )
    return f"{type(made).__name__}({', '.join(settings)})"


def make(kind: type[Any], settings: dict[str, Any]) -> object:
    """Another one, from its pickle."""
    return kind(**settings)


def pickled(made: object) -> tuple[Any, tuple[Any, ...]]:
    """The settings alone: a copy has an engine, and a past, of its own."""
    return make, (type(made), of(made))


for kind in (AudioCapture, VADProcessor):
    copyreg.pickle(kind, pickled)
