"""Plugins: found by their entry points, with who they came from; one that is broken is kept and explained."""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import attrs
import pluggy

import drystone.hookspecs as specifications
from drystone.components import FsspecArtifactStore, StackComponent
from drystone.errors import (
    ComponentNotFoundError,
    DrystoneError,
    DuplicateComponentError,
    PluginLoadError,
    listed,
    suggestion,
)
from drystone.hookspecs import HOOKS, OFFERS, PROJECT, StackLike
from drystone.materializers import CORE, Materializer

ACTIVE, BROKEN, BLOCKED = "active", "broken", "blocked"

DISABLE = "DRYSTONE_PLUGINS_DISABLE"
"""The environment variable that names plugins to be left alone, separated by commas."""


@attrs.frozen(kw_only=True)
class Plugin:
    """One installed plugin.

    Attributes:
        name: Of its entry point.
        module: What its entry point names.
        state: `active`, `broken` or `blocked`.
        error: Why it is broken, as text with the traceback.
    """

    name: str
    distribution: str
    version: str
    module: str
    state: str = ACTIVE
    error: str | None = attrs.field(default=None, repr=False)

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{self.name!r} of {self.distribution} {self.version}".rstrip()

    @property
    def summary(self) -> str:
        """The end of the error, in one line."""
        lines = (self.error or "").strip().splitlines()
        return lines[-1] if lines and lines[0].startswith("Traceback") else " ".join(line.strip() for line in lines)


class Plugins:
    """The installed plugins and what they offer.

    Args:
        found: Every plugin, with the object its entry point names; None for those that are broken or blocked.
        remarks: Problems that belong to no plugin.
    """

    def __init__(self, found: Iterable[tuple[Plugin, object | None]], remarks: Iterable[str] = ()) -> None:
        self._manager = _manager()
        self._plugins: list[Plugin] = []
        self._remarks = tuple(remarks)
        self._offers: dict[str, list[tuple[Any, Plugin]]] = {}
        for plugin, loaded in found:
            self._plugins.append(plugin)
            if loaded is not None:
                self._manager.register(loaded, plugin.name)

    @property
    def all(self) -> list[Plugin]:
        """Every plugin, by name. One whose offers fail counts as broken once they were asked for."""
        return list(self._plugins)

    def offered(self, hook: str) -> list[tuple[Any, Plugin]]:
        """What the plugins return for one of the offering hooks, each with the plugin it came from."""
        if hook not in self._offers:
            self._offers[hook] = list(self._collected(hook))
        return self._offers[hook]

    def components(self) -> dict[tuple[str, str], tuple[type[StackComponent], str]]:
        """Component classes and their distributions, by kind and name.

        Raises:
            DuplicateComponentError: Two distributions claim one name.
        """
        found: dict[tuple[str, str], tuple[type[StackComponent], str]] = {
            (FsspecArtifactStore.kind, FsspecArtifactStore.name): (FsspecArtifactStore, CORE)
        }
        for cls, plugin in self.offered("drystone_components"):
            other, distribution = found.setdefault((cls.kind, cls.name), (cls, plugin.distribution))
            if other is not cls:
                raise DuplicateComponentError(
                    f"Both {distribution} and {plugin.distribution} offer {_kind(cls.kind)} named {cls.name!r}. "
                    f"Uninstall one of them, or block it: {DISABLE}={plugin.name}."
                )
        return found

    def component(self, kind: str, name: str) -> type[StackComponent]:
        """The component class of a kind and name.

        Raises:
            ComponentNotFoundError: Nothing installed offers it; names what is, and plugins that are broken or blocked.
        """
        components = self.components()
        if (kind, name) in components:
            return components[kind, name][0]
        kinds = {known for known, _ in components}
        if kind not in kinds:
            hint = suggestion(kind, kinds, "Installed kinds")
            raise ComponentNotFoundError(f"Nothing installed offers components of kind {kind!r}.{hint}{self.absent()}")
        hint = suggestion(name, [known for of, known in components if of == kind], "Installed")
        raise ComponentNotFoundError(
            f"No {kind.replace('_', ' ')} named {name!r} is installed.{hint}{self.absent()} "
            "`drystone plugins list` shows everything."
        )

    def materializers(self) -> list[tuple[type[Materializer], str]]:
        """Materializer classes, each with its distribution."""
        return [(cls, plugin.distribution) for cls, plugin in self.offered("drystone_materializers")]

    def stacks(self) -> list[StackLike]:
        """The stacks that plugins bring."""
        return [stack for stack, _ in self.offered("drystone_stacks")]

    def register(self, observer: object, name: str) -> None:
        """Add an object with hook implementations to this process, such as a display of what a run does."""
        _check_hooks(observer)
        origin = f"{type(observer).__module__}:{type(observer).__qualname__}"
        self._plugins.append(Plugin(name=name, distribution="", version="", state=ACTIVE, module=origin))
        self._manager.register(observer, name)

    def unregister(self, name: str) -> None:
        """Take back what `register` added."""
        self._plugins.remove(self._named(name))
        self._manager.unregister(name=name)

    def listens(self, *events: str) -> bool:
        """Whether any plugin implements one of these events, so that their records are worth making."""
        return any(getattr(self._manager.hook, event).get_hookimpls() for event in events)

    def emit(self, event: str, **records: Any) -> list[str]:
        """Call the plugins' functions for an event; what they raise comes back as text, one per plugin."""
        problems = []
        for implementation in getattr(self._manager.hook, event).get_hookimpls():
            arguments = {name: records[name] for name in implementation.argnames}
            try:
                implementation.function(**arguments)
            except Exception as exc:  # an observer never disturbs what it observes
                plugin = self._named(implementation.plugin_name)
                problems.append(f"The hook {event} of the plugin {plugin.label} raised {type(exc).__name__}: {exc}")
        return problems

    def provider(self, cls: type) -> str:
        """The distribution a class was installed with; empty if it was not installed."""
        package = cls.__module__.partition(".")[0]
        for plugin in self._plugins:
            if plugin.module.partition(":")[0].partition(".")[0] == package:
                return plugin.distribution
        return CORE if package == PROJECT else _distribution(package)

    def problems(self) -> list[str]:
        """Everything that is wrong, one sentence or more each; asks for every offer to find out."""
        for hook in OFFERS:
            self.offered(hook)
        found = [*self._remarks, *(_broken(plugin) for plugin in self._plugins if plugin.state == BROKEN)]
        try:
            self.components()
        except DuplicateComponentError as exc:
            found.append(str(exc))
        return found

    def absent(self) -> str:
        """A sentence for each plugin that is broken or blocked: what is missing may be missing because of it."""
        texts = [_broken(plugin) for plugin in self._plugins if plugin.state == BROKEN]
        texts += [
            f"The plugin {plugin.label} is blocked by {DISABLE}." for plugin in self._plugins if plugin.state == BLOCKED
        ]
        return "".join(f" {text}" for text in texts)

    def _collected(self, hook: str) -> Iterator[tuple[Any, Plugin]]:
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            plugin = self._named(implementation.plugin_name)
            try:
                offers = _checked(hook, implementation.function())
            except (Exception, SystemExit) as exc:
                self._break(plugin, exc)
                continue
            yield from ((offer, plugin) for offer in offers)

    def _named(self, name: str) -> Plugin:
        return next(plugin for plugin in self._plugins if plugin.name == name)

    def _break(self, plugin: Plugin, exc: BaseException) -> None:
        broken = attrs.evolve(plugin, state=BROKEN, error=_explained(exc))
        self._plugins[self._plugins.index(plugin)] = broken


@functools.cache
def load_plugins() -> Plugins:
    """The plugins installed here, loaded once per process. Those that `DRYSTONE_PLUGINS_DISABLE` names are not."""
    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
    return discovered(importlib.metadata.entry_points(group=PROJECT), disabled)


def discovered(entry_points: Iterable[EntryPoint], disabled: Collection[str] = ()) -> Plugins:
    """Load the plugins behind entry points; a broken one is kept with its error, a blocked one is not imported."""
    found: dict[str, tuple[Plugin, object | None]] = {}
    twins = []
    for entry in sorted(entry_points, key=lambda entry: (entry.name, _described(entry).distribution)):
        if entry.name in found:
            twins.append((_twin(_described(entry), found[entry.name][0]), None))
        else:
            found[entry.name] = _loaded(entry, entry.name in disabled)
    remarks = [
        f"{DISABLE} names {name!r}, but no such plugin is installed.{suggestion(name, found, 'Installed')}"
        for name in sorted(set(disabled) - set(found))
    ]
    return Plugins([*found.values(), *twins], remarks)


def _described(entry: EntryPoint) -> Plugin:
    name, version = (entry.dist.name, entry.dist.version) if entry.dist else ("an unknown distribution", "")
    return Plugin(name=entry.name, distribution=name, version=version, module=entry.value)


def _twin(plugin: Plugin, other: Plugin) -> Plugin:
    error = (
        f"{other.distribution} has a plugin of the name {plugin.name!r} as well, and that one was loaded. "
        "Uninstall one of the two."
    )
    return attrs.evolve(plugin, state=BROKEN, error=error)


def _loaded(entry: EntryPoint, blocked: bool) -> tuple[Plugin, object | None]:
    plugin = _described(entry)
    if blocked:
        return attrs.evolve(plugin, state=BLOCKED), None
    try:
        loaded = entry.load()
        _check_hooks(loaded)
    except (Exception, SystemExit) as exc:  # one broken plugin must not take the others down
        return attrs.evolve(plugin, state=BROKEN, error=_explained(exc)), None
    return plugin, loaded


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(specifications)
    return manager


def _check_hooks(loaded: object) -> None:
    """Refuse what pluggy would ignore, such as a misspelt hook, and what it refuses halfway, such as an argument."""
    manager = _manager()
    problems = []
    for name in dir(loaded):
        options = manager.parse_hookimpl_opts(loaded, name)
        if options is None:
            continue
        hook = options.get("specname") or name
        if hook not in HOOKS:
            problems.append(f"It implements a hook {hook!r}, which does not exist.{suggestion(hook, HOOKS, 'Hooks')}")
        elif options.get("wrapper") or options.get("hookwrapper"):
            problems.append(f"It wraps the hook {hook!r}. Hooks of Drystone are not wrapped; return what you offer.")
    if problems:
        raise PluginLoadError(listed(problems))
    try:
        manager.register(loaded)
    except pluggy.PluginValidationError as exc:
        raise PluginLoadError(f"A function does not fit its hook. {exc}") from exc


def _explained(exc: BaseException) -> str:
    if isinstance(exc, DrystoneError):
        return str(exc)
    return "".join(traceback.format_exception(exc)).strip()


def _broken(plugin: Plugin) -> str:
    text = plugin.summary
    stop = "" if text.endswith((".", "!", "?")) else "."
    return f"The plugin {plugin.label} is installed but broken: {text}{stop} `drystone plugins doctor` shows all of it."


def _kind(kind: str) -> str:
    words = kind.replace("_", " ")
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _checked(hook: str, offers: object) -> list[Any]:
    if not isinstance(offers, list | tuple):
        raise PluginLoadError(f"{hook} returned {offers!r}. It must return a list.")
    wanted, fits = _WANTED[hook]
    wrong = [repr(offer) for offer in offers if not fits(offer)]
    if wrong:
        raise PluginLoadError(f"{hook} returned {', '.join(wrong)}. It must return a list of {wanted}.")
    return list(offers)


def _is_component(offer: object) -> bool:
    return _is_concrete(offer, StackComponent) and bool(getattr(offer, "kind", ""))


def _is_materializer(offer: object) -> bool:
    return _is_concrete(offer, Materializer) and bool(getattr(offer, "name", ""))


def _is_concrete(offer: object, base: type) -> bool:
    return isinstance(offer, type) and issubclass(offer, base) and not inspect.isabstract(offer)


_WANTED: dict[str, tuple[str, Callable[[object], bool]]] = {
    "drystone_components": ("component classes: not abstract, and of a kind", _is_component),
    "drystone_materializers": ("materializer classes: not abstract, and with a name", _is_materializer),
    "drystone_stacks": ("Stack objects", lambda offer: isinstance(offer, StackLike) and not isinstance(offer, type)),
}


@functools.cache
def _distribution(package: str) -> str:
    """The distribution that installed a top-level module, found beside it: asking for all of them takes 0.1 s."""
    file = getattr(sys.modules.get(package), "__file__", None)
    if file is None:
        return ""
    path = Path(file)
    inside = path.stem == "__init__"
    site, entry = path.parents[inside], f"{package}/{path.name}" if inside else path.name
    for distribution in importlib.metadata.distributions(path=[str(site)]):
        if f"\n{entry}," in f"\n{distribution.read_text('RECORD') or ''}":
            return distribution.name
    return _namesake(package, site)


def _namesake(package: str, site: Path) -> str:
    """The distribution of the same name, if it is an editable install of a project that holds the module."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
    return distribution.name if str(site) in _editable_paths(distribution) else ""


def _editable_paths(distribution: importlib.metadata.Distribution) -> list[str]:
    files = [file for file in distribution.files or () if file.suffix == ".pth"]
    return [line.strip() for file in files for line in file.read_text().splitlines()]
