"""What tests are written with: contracts to inherit, stacks in memory, single steps, and faults.

A plugin's own tests subclass the contract of what it implements, in a class whose name starts with `Test`; pytest does
the rest. Contracts need the extra `drystone-core[testing]`.

The stub beside this file is the one table of names; each is loaded when it is first used, since pytest imports this
package in every project where Drystone is installed.
"""

from importlib import import_module
from typing import Any

# The few lines of drystone/__init__ again: that one must not import anything, and a reader of either sees what it does.
_STUB = __spec__.loader.get_data(f"{__path__[0]}/__init__.pyi").decode()
_HOMES = {name: module for _, module, _, name, *_ in map(str.split, _STUB.splitlines())}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'drystone.testing' has no attribute {name!r}. It has: {', '.join(__all__)}.")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
