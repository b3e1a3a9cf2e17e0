"""Drystone: machine-learning pipelines on stacks of plugins, without a server.

Everything public is importable from here. The stub beside this file is the one table of names: type checkers read it,
and so does this module, which loads a name when it is first used.
"""

from importlib import import_module
from typing import Any

_STUB = __spec__.loader.get_data(f"{__path__[0]}/__init__.pyi").decode()  # the loader reads from archives as well
_HOMES = {name: module for _, module, _, name, *_ in map(str.split, _STUB.splitlines())}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'drystone' has no attribute {name!r}. It has: {', '.join(__all__)}.")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
