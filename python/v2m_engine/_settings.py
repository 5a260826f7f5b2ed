"""The settings that an object was made with: its attributes of their names."""

from __future__ import annotations

import inspect
from typing import Any


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
