"""Plugins that are files: named by an environment variable, so that child processes load the same ones."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from drystone.digests import digest_bytes
from drystone.installations import Plugin

FILES = "DRYSTONE_PLUGINS"
"""The environment variable that names files to load as plugins, separated as in PATH; `--plugin` adds to it."""

PREFIX = "drystone_plugin_"


def files() -> list[Plugin]:
    """A plugin for each file that the environment names, in its order."""
    paths = dict.fromkeys(Path(name).expanduser().resolve() for name in _named())
    return [
        Plugin(name=path.name, distribution=str(path), version="", module=f"{PREFIX}{_suffix(path)}") for path in paths
    ]


def load(plugin: Plugin) -> ModuleType:
    """Import a plugin that is a file, once per process.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not Path(plugin.distribution).is_file():
        raise FileNotFoundError(f"{plugin.distribution} is not there. Correct --plugin or {FILES}")
    return importlib.import_module(plugin.module)


def _named() -> list[str]:
    return [name for name in os.environ.get(FILES, "").split(os.pathsep) if name]


def _suffix(path: Path) -> str:
    """The rest of its module's name: the same in every process, and no other file's."""
    return f"{re.sub(r'[^A-Za-z0-9]', '_', path.stem)}_{digest_bytes(str(path).encode())[:12]}"


class _Finder:
    """Finds these modules by name: a task that names a class may reach a worker before anybody asks for plugins."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(PREFIX):
            return None
        file = next((each.distribution for each in files() if each.module == name), None)
        return spec_from_file_location(name, file) if file else None


sys.meta_path.append(_Finder)
