"""Processes that contracts start: they import the test module by its file, as pytest gave it its name."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from drystone.values import dumps, from_json, to_json

PROGRAM = "import sys; from drystone.testing.children import main; main(*sys.argv[1:])"


def started(target: str, *arguments: str, value: object, **options: Any) -> subprocess.Popen[str]:
    """Start a function of core in a fresh interpreter.

    Args:
        target: `module:function`.
        arguments: Texts that it is called with, after the value.
        value: Its first argument: something that tasks can carry, such as a component.
        options: Of `subprocess.Popen`.
    """
    module = sys.modules.get(type(value).__module__)
    file = getattr(module, "__file__", None) or ""
    where = (type(value).__module__, file, dumps(to_json(value)))
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, target, *where, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def main(target: str, module: str, file: str, value: str, *arguments: str) -> None:
    """Call a function in this process, which `started` began."""
    import_by_file(module, file)
    home, _, name = target.partition(":")
    __import__(home)
    getattr(sys.modules[home], name)(from_json(json.loads(value)), *arguments)


def import_by_file(module: str, file: str) -> ModuleType:
    """The module of a test, under the name that pytest gave it and by which its classes are stored.

    One of an installed package is imported as usual, since it may need its neighbours.
    """
    if module in sys.modules or not file:
        return sys.modules[module]
    with suppress(ImportError):
        if getattr(find_spec(module), "origin", None) == file:
            return import_module(module)
    for package in itertools.accumulate(module.split("."), "{}.{}".format):
        sys.modules.setdefault(package, ModuleType(package))
    sys.modules[module].__file__ = file
    SourceFileLoader(module, file).exec_module(sys.modules[module])
    return sys.modules[module]
