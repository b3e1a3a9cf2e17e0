"""Commands that plugins bring: found by their entry points, and else by the hook."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import click

GROUP = "drystone.commands"
"""The group of entry points by which plugins name their commands."""

HOOK = "drystone_commands"

FILES, DISABLE = "DRYSTONE_PLUGINS", "DRYSTONE_PLUGINS_DISABLE"


@contextmanager
def surroundings() -> Iterator[None]:
    """Give back what options set for plugins, here and in child processes."""
    before = {name: os.environ.get(name) for name in (FILES, DISABLE)}
    try:
        yield
    finally:
        if before != {name: os.environ.get(name) for name in before}:
            for name, value in before.items():
                os.environ.pop(name, None)
                os.environ.update({} if value is None else {name: value})
            _forget()


def add_files(ctx: click.Context, param: click.Parameter, paths: tuple[str, ...]) -> None:
    """Have files loaded as plugins, by this process and its children."""
    if ctx.resilient_parsing:  # a shell asks what it may complete, also on a line that is not yet right
        paths = tuple(path for path in paths if os.path.isfile(path))
    wrong = [path for path in paths if os.pathsep in path]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} contains {os.pathsep!r}, which separates files in {FILES}. Rename it.")
    if paths:
        os.environ[FILES] = os.pathsep.join(filter(None, [os.environ.get(FILES), *map(os.path.realpath, paths)]))
        _forget()


def block(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    """Leave every installed plugin alone, in this process and its children."""
    if given:
        os.environ[DISABLE] = ",".join(filter(None, [os.environ.get(DISABLE), "*"]))
        _forget()


def _forget() -> None:
    """Have plugins loaded anew, if this process has loaded any."""
    if "drystone.plugins" in sys.modules:
        from drystone import load_plugins

        load_plugins.cache_clear()


def named() -> dict[str, list[EntryPoint]]:
    """The entry points of commands, by name, but those of blocked plugins. Nothing is imported."""
    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        if not disabled or not _is_blocked(entry, disabled):
            found.setdefault(entry.name, []).append(entry)
    return found


def _is_blocked(entry: EntryPoint, disabled: set[str]) -> bool:
    siblings = entry.dist.entry_points.select(group="drystone") if entry.dist else ()
    return "*" in disabled or any(each.name in disabled for each in siblings)


def of_files() -> list[tuple[str, Any, str]]:
    """Name, command and owner of the commands of plugins that are files; where none is named, core is not imported."""
    return _hooked(installed=False) if os.environ.get(FILES) else []


def _hooked(*, installed: bool) -> list[tuple[str, Any, str]]:
    from drystone import load_plugins

    offered = load_plugins(installed=installed).offered(HOOK)
    return [(command.name, command, plugin.distribution) for command, plugin in offered]


def find(name: str) -> click.Command | None:
    """The command of a name: of an entry point or a file, or else by the hook, for which every plugin is loaded.

    Raises:
        PluginLoadError: It is there, and cannot be loaded.
        DuplicateComponentError: Two plugins claim the name.
    """
    claims: list[tuple[Any, str]] = [(entry, origin(entry)) for entry in named().get(name, [])]
    claims += [(command, owner) for known, command, owner in of_files() if known == name]
    claims = claims or [(command, owner) for known, command, owner in _hooked(installed=True) if known == name]
    if len(claims) > 1:
        from drystone.errors import DuplicateComponentError

        owners = " and ".join(sorted(owner for _, owner in claims))
        raise DuplicateComponentError(
            f"Both {owners} offer a command named {name!r}. Uninstall one of them, or block it: {DISABLE}."
        )
    for found, owner in claims:
        loaded = _loaded(found) if isinstance(found, EntryPoint) else found
        if not isinstance(loaded, click.Command):
            raise click.UsageError(f"The command {name!r} of {owner} is no click command, but {loaded!r}.")
        return loaded
    return None


def origin(entry: EntryPoint) -> str:
    """Who brings a command."""
    return str(entry.dist.name if entry.dist else entry.value)


def _loaded(entry: EntryPoint) -> Any:
    from drystone.errors import PluginLoadError

    try:
        loaded = entry.load()
        if isinstance(loaded, ModuleType):
            loaded = next((each for each in getattr(loaded, HOOK, list)() if each.name == entry.name), None)
    except (Exception, SystemExit) as exc:
        raise PluginLoadError(
            f"The command {entry.name!r} of {origin(entry)} cannot be loaded: {type(exc).__name__}: {exc}. Reinstall "
            "that plugin, or remove it; `--debug` shows the traceback."
        ) from exc
    if loaded is None:
        raise PluginLoadError(
            f"The command {entry.name!r} of {origin(entry)} is not there: its entry point names the module "
            f"{entry.value!r}, whose {HOOK} offers no command of that name."
        )
    return loaded
