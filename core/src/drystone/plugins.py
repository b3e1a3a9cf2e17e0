"""Plugins: found by their entry points, with who they came from; one that is broken is kept and explained."""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import logging
import os
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import Any

import attrs
import pluggy

from drystone import hookspecs
from drystone.components import StackComponent
from drystone.errors import (
    ComponentNotFoundError,
    DrystoneError,
    DuplicateComponentError,
    PluginLoadError,
    listed,
    message_of,
    suggestion,
)
from drystone.filesystems import FsspecArtifactStore
from drystone.materializers import BUILT_IN, CORE, Materializer
from drystone.stacks import Stack

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

    @property
    def absence(self) -> str:
        """Why nothing of it is here, if it is not active."""
        if self.state == BLOCKED:
            return f"The plugin {self.label} is blocked by {DISABLE}."
        why = self.summary.rstrip(".")
        return f"The plugin {self.label} is installed but broken: {why}. `drystone plugins doctor` shows all of it."


class Plugins:
    """The installed plugins and what they offer; those that are broken or blocked are kept, with the reason.

    Args:
        entry_points: Of every plugin.
        disabled: Names of plugins to be left alone.
    """

    def __init__(self, entry_points: Iterable[EntryPoint], disabled: Collection[str] = ()) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._plugins: dict[str, Plugin] = {}
        self._offers: dict[str, list[tuple[Any, Plugin]]] = {}
        self._disabled = set(disabled)
        for entry in sorted(entry_points, key=lambda entry: (entry.name, entry.dist.name if entry.dist else "")):
            self._load(entry)

    def _load(self, entry: EntryPoint) -> None:
        owner, version = (entry.dist.name, entry.dist.version) if entry.dist else ("an unknown distribution", "")
        state = BLOCKED if entry.name in self._disabled else ACTIVE
        plugin = Plugin(name=entry.name, distribution=owner, version=version, module=entry.value, state=state)
        twin = next((other for other in self.all if other.name == entry.name), None)
        self._plugins[plugin.label] = plugin
        if state == BLOCKED:
            return
        try:
            if twin is not None:
                raise PluginLoadError(
                    f"{twin.distribution} has a plugin of the name {entry.name!r} as well, and that one was found "
                    "first. Uninstall one of the two."
                )
            self._hook(entry.load(), plugin)
        except (Exception, SystemExit) as exc:  # one broken plugin must not take the others down
            self._break(plugin, exc)

    def _hook(self, loaded: object, plugin: Plugin) -> None:
        """Take an object's hooks; refuse what pluggy would ignore, such as a misspelt one, or refuses halfway."""
        problems = []
        try:
            self._manager.register(loaded, plugin.label)
        except pluggy.PluginValidationError as exc:
            problems.append(f"A function does not fit its hook. {exc}")
        for caller in self._manager.get_hookcallers(loaded) or ():
            hook = caller.name
            if hook not in hookspecs.HOOKS:
                hint = suggestion(hook, hookspecs.HOOKS, "Hooks")
                problems.append(f"It implements a hook {hook!r}, which does not exist.{hint}")
            elif any(each.wrapper or each.hookwrapper for each in caller.get_hookimpls() if each.plugin is loaded):
                problems.append(
                    f"It wraps the hook {hook!r}. Hooks of Drystone are not wrapped; return what you offer."
                )
        if problems:
            self._manager.unregister(name=plugin.label)
            raise PluginLoadError(listed(problems))

    def _break(self, plugin: Plugin, exc: BaseException) -> None:
        text = str(exc) if isinstance(exc, DrystoneError) else "".join(traceback.format_exception(exc)).strip()
        self._plugins[plugin.label] = attrs.evolve(plugin, state=BROKEN, error=text)

    @property
    def all(self) -> list[Plugin]:
        """Every plugin, by name. One whose offers fail counts as broken once they were asked for."""
        return list(self._plugins.values())

    def offered(self, hook: str) -> list[tuple[Any, Plugin]]:
        """What the plugins return for one of the offering hooks, each with the plugin it came from."""
        if hook not in self._offers:
            offers: list[tuple[Any, Plugin]] = []
            for implementation in getattr(self._manager.hook, hook).get_hookimpls():
                plugin = self._plugins[implementation.plugin_name]
                try:
                    offers += [(offer, plugin) for offer in _checked(hook, implementation.function())]
                except (Exception, SystemExit) as exc:
                    self._break(plugin, exc)
            self._offers[hook] = offers
        return self._offers[hook]

    def unique(self, hook: str) -> dict[tuple[str, str], tuple[Any, Plugin]]:
        """What core and the plugins offer, by kind and name.

        Raises:
            DuplicateComponentError: Two different offers claim one name.
        """
        own = Plugin(name=CORE, distribution=CORE, version="", module=hookspecs.PROJECT)
        found: dict[tuple[str, str], tuple[Any, Plugin]] = {}
        for offer, plugin in [*((each, own) for each in OWN.get(hook, ())), *self.offered(hook)]:
            kind = offer.kind if hook == "drystone_components" else _kind_of(hook)
            other, owner = found.setdefault((kind, offer.name), (offer, plugin))
            if other is not offer:
                raise DuplicateComponentError(
                    f"Both {owner.distribution} and {plugin.distribution} offer {'an' if kind[0] in 'aeiou' else 'a'} "
                    f"{kind.replace('_', ' ')} named {offer.name!r}. Uninstall one of them, or block it: "
                    f"{DISABLE}={plugin.name}."
                )
        return found

    def component(self, kind: str, name: str) -> type[StackComponent]:
        """The component class of a kind and name.

        Raises:
            ComponentNotFoundError: Nothing installed offers it; names what is, and plugins that are broken or blocked.
            DuplicateComponentError: Two distributions claim one name.
        """
        components = self.unique("drystone_components")
        if (kind, name) in components:
            cls: type[StackComponent] = components[kind, name][0]
            return cls
        names = [known for of, known in components if of == kind]
        if not names:
            hint = suggestion(kind, {of for of, _ in components}, "Installed kinds")
            raise ComponentNotFoundError(f"Nothing installed offers components of kind {kind!r}.{hint}{self.absent()}")
        hint = suggestion(name, names, "Installed")
        raise ComponentNotFoundError(
            f"No {kind.replace('_', ' ')} named {name!r} is installed.{hint}{self.absent()} "
            "`drystone plugins list` shows everything."
        )

    def materializers(self) -> list[tuple[type[Materializer], str]]:
        """Materializer classes, each with its distribution."""
        return [(cls, plugin.distribution) for cls, plugin in self.offered("drystone_materializers")]

    def scheme(self, hook: str, name: str) -> Callable[[str], Any] | None:
        """What is offered for a scheme by `drystone_secret_resolvers` or `drystone_ledgers`, if anything is.

        Raises:
            DuplicateComponentError: Two plugins claim one scheme.
        """
        kind = _kind_of(hook)
        found = self.unique(hook).get((kind, name))
        return found[0].function if found is not None else None

    def schemes(self, hook: str) -> list[str]:
        """The schemes that are offered."""
        return sorted(name for _, name in self.unique(hook))

    @contextmanager
    def observed(self, observer: object, name: str) -> Iterator[None]:
        """Call an object's hook implementations inside the block, such as those of a display of what a run does."""
        module = f"{type(observer).__module__}:{type(observer).__qualname__}"
        plugin = Plugin(name=name, distribution="this process", version="", module=module)
        self._hook(observer, plugin)
        self._plugins[plugin.label] = plugin
        try:
            yield
        finally:
            del self._plugins[plugin.label]
            self._manager.unregister(observer)

    def listens(self, *events: str) -> bool:
        """Whether any plugin implements one of these events, so that their records are worth making."""
        return any(getattr(self._manager.hook, event).get_hookimpls() for event in events)

    def emit(self, event: str, **records: Any) -> list[str]:
        """Call the plugins' functions for an event; what they raise comes back as text, one per plugin."""
        problems = []
        for each in getattr(self._manager.hook, event).get_hookimpls():
            try:
                each.function(*(records[name] for name in each.argnames))
            except KeyboardInterrupt:
                raise
            except BaseException as exc:  # an observer never disturbs what it observes
                raised = f"{type(exc).__name__}: {message_of(exc)}"
                problems.append(f"The hook {event} of the plugin {each.plugin_name} raised {raised}")
        return problems

    def tell(self, event: str, **records: Any) -> None:
        """Call the plugins' functions for an event outside a run; what they raise changes nothing, and is logged."""
        for problem in self.emit(event, **records):
            logging.getLogger(__name__).warning(problem)

    def problems(self) -> list[str]:
        """Everything that is wrong, one sentence or more each; asks for every offer to find out."""
        duplicates = []
        for hook in hookspecs.OFFERS:
            try:
                self.unique(hook)
            except DuplicateComponentError as exc:
                duplicates.append(str(exc))
        names = {plugin.name for plugin in self.all}
        unknown = [
            f"{DISABLE} names {name!r}, but no such plugin is installed.{suggestion(name, names, 'Installed')}"
            for name in sorted(self._disabled - names)
        ]
        return unknown + [plugin.absence for plugin in self.all if plugin.state == BROKEN] + duplicates

    def absent(self) -> str:
        """A sentence for each plugin that is broken or blocked: what is missing may be missing because of it."""
        return "".join(f" {plugin.absence}" for plugin in self.all if plugin.state != ACTIVE)


@functools.cache
def load_plugins() -> Plugins:
    """The plugins installed here, loaded once per process. Those that `DRYSTONE_PLUGINS_DISABLE` names are not."""
    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
    found = Plugins(importlib.metadata.entry_points(group=hookspecs.PROJECT), disabled)
    for plugin in found.all:
        if plugin.state == BROKEN:
            logging.getLogger(__name__).warning(plugin.absence)
    return found


OWN: dict[str, tuple[type, ...]] = {"drystone_components": (FsspecArtifactStore,), "drystone_materializers": BUILT_IN}
"""What core offers itself."""


def _kind_of(hook: str) -> str:
    return hook.removeprefix("drystone_").removesuffix("s")


_WANTED: dict[str, tuple[type, str, str]] = {
    "drystone_components": (StackComponent, "kind", "component classes: not abstract, and of a kind"),
    "drystone_materializers": (Materializer, "name", "materializer classes: not abstract, and with a name"),
    "drystone_stacks": (Stack, "name", "Stack objects"),
    "drystone_commands": (object, "name", "click commands with names"),
}
"""What the offers of each hook are: of which class, by which attribute they are found, and how messages call them."""


@attrs.frozen
class Scheme:
    """What a plugin offers for a scheme, of URLs or of secrets."""

    name: str
    function: Callable[[str], Any]


def _checked(hook: str, offers: Any) -> list[Any]:
    if hook not in _WANTED:
        return _schemes(hook, offers)
    base, attribute, wanted = _WANTED[hook]
    if not isinstance(offers, list | tuple):
        raise PluginLoadError(f"{hook} returned {offers!r}. It must return a list.")
    wrong = [repr(offer) for offer in offers if not _fits(offer, base, attribute)]
    if wrong:
        raise PluginLoadError(f"{hook} returned {', '.join(wrong)}. It must return a list of {wanted}.")
    return list(offers)


def _schemes(hook: str, offers: Any) -> list[Scheme]:
    if not isinstance(offers, Mapping) or not all(isinstance(key, str) and callable(offers[key]) for key in offers):
        raise PluginLoadError(f"{hook} returned {offers!r}. It must return a dict of schemes and functions.")
    return [Scheme(name, function) for name, function in offers.items()]


def _fits(offer: object, base: type, attribute: str) -> bool:
    if not issubclass(base, StackComponent | Materializer):
        return isinstance(offer, base) and bool(getattr(offer, attribute, True))
    is_concrete = isinstance(offer, type) and issubclass(offer, base) and not inspect.isabstract(offer)
    return is_concrete and bool(getattr(offer, attribute, ""))
