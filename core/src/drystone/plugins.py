"""Plugins: found by their entry points, with who they came from; one that is broken is kept and explained."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import os
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import Any

import attrs
import pluggy

from drystone import hookspecs, oneoffs, traces
from drystone.catalogs import CORE, providing
from drystone.claims import OWN, checked, key_of, kind_of
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
from drystone.installations import ACTIVE, ALL, BLOCKED, BROKEN, CONFLICTING, DISABLE, Plugin, found
from drystone.materializers import Materializer
from drystone.projects import project_root
from drystone.requirements import unmet

Claims = dict[tuple[str, str], list[tuple[Any, Plugin]]]
"""What is offered by kind and name, each with whose it is; more than one is one too many."""


class Plugins:
    """The plugins that are here and what they offer; those that are not active are kept, with the reason.

    Args:
        entry_points: Of every installed plugin.
        disabled: Names of plugins to be left alone; `*` stands for all that are installed.
        files: Plugins that are files.
    """

    def __init__(
        self, entry_points: Iterable[EntryPoint], disabled: Collection[str] = (), files: Iterable[Plugin] = ()
    ) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._plugins: dict[str, Plugin] = {}
        self._offers: dict[str, list[tuple[Any, Plugin]]] = {}
        self._disabled = set(disabled)
        self._is_traced = traces.is_on()
        for entry, plugin in found(entry_points, self._disabled):
            self._load(plugin, entry.load)
        for plugin in files:
            state = BLOCKED if plugin.name in self._disabled else ACTIVE
            self._load(attrs.evolve(plugin, state=state), functools.partial(oneoffs.load, plugin))

    def _load(self, plugin: Plugin, load: Callable[[], object]) -> None:
        self._plugins[plugin.label] = plugin
        if plugin.state != ACTIVE:
            return
        try:
            self._hook(load(), plugin)
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

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        return caller.get_hookimpls()

    def _call(self, hook: str, implementation: pluggy.HookImpl, records: Mapping[str, Any]) -> Any:
        arguments = {name: records[name] for name in implementation.argnames}
        if self._is_traced:
            return traces.traced(hook, implementation.plugin_name, implementation.function, arguments)
        return implementation.function(*arguments.values())

    def offered(self, hook: str) -> list[tuple[Any, Plugin]]:
        """What the plugins return for one of the offering hooks, each with the plugin it came from."""
        if hook not in self._offers:
            offers: list[tuple[Any, Plugin]] = []
            for implementation in self._implementations(hook):
                plugin = self._plugins[implementation.plugin_name]
                try:
                    offers += [(offer, plugin) for offer in checked(hook, self._call(hook, implementation, {}))]
                except (Exception, SystemExit) as exc:
                    self._break(plugin, exc)
            self._offers[hook] = offers
        return self._offers[hook]

    def _claims(self, hook: str) -> Claims:
        """What core and the plugins offer, by kind and name."""
        own = Plugin(name=CORE, distribution=CORE, version="", module=hookspecs.PROJECT)
        claims: Claims = {}
        for offer, plugin in [*((each, own) for each in OWN.get(hook, ())), *self.offered(hook)]:
            same = claims.setdefault(key_of(hook, offer), [])
            if all(offer is not each for each, _ in same):
                same.append((offer, plugin))
        return claims

    def unique(self, hook: str) -> dict[tuple[str, str], tuple[Any, Plugin]]:
        """What core and the plugins offer, by kind and name.

        Raises:
            DuplicateComponentError: Two different offers claim one name.
        """
        return {key: _only(key, claimants) for key, claimants in self._claims(hook).items()}

    def component(self, kind: str, name: str) -> type[StackComponent]:
        """The component class of a kind and name.

        Raises:
            ComponentNotFoundError: Nothing installed offers it; names what is, and plugins that are broken or blocked.
            DuplicateComponentError: Two distributions claim this name.
        """
        claims = self._claims("drystone_components")
        if (kind, name) in claims:
            cls: type[StackComponent] = _only((kind, name), claims[kind, name])[0]
            return cls
        names = [known for of, known in claims if of == kind]
        remedy = providing(component=f"{kind}:{name}")
        if not names:
            hint = suggestion(kind, {of for of, _ in claims}, "Installed kinds")
            raise ComponentNotFoundError(
                f"Nothing installed offers components of kind {kind!r}.{hint}{remedy}{self.absent()}"
            )
        hint = suggestion(name, names, "Installed")
        raise ComponentNotFoundError(
            f"No {kind.replace('_', ' ')} named {name!r} is installed.{hint}{remedy}{self.absent()} "
            "`drystone plugins list` shows everything."
        )

    def materializers(self) -> list[tuple[type[Materializer], str]]:
        """Materializer classes, each with its distribution."""
        return [(cls, plugin.distribution) for cls, plugin in self.offered("drystone_materializers")]

    def scheme(self, hook: str, name: str) -> Callable[[str], Any] | None:
        """What is offered for a scheme by `drystone_secret_resolvers` or `drystone_ledgers`, if anything is.

        Raises:
            DuplicateComponentError: Two plugins claim this scheme.
        """
        key = kind_of(hook), name
        claims = self._claims(hook)
        return _only(key, claims[key])[0].function if key in claims else None

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
        self._ask_again(observer)
        try:
            yield
        finally:
            del self._plugins[plugin.label]
            self._manager.unregister(observer)
            self._ask_again(observer)

    def _ask_again(self, observer: object) -> None:
        for hook in self._offers.keys() & {*dir(observer)}:
            del self._offers[hook]

    def listens(self, *events: str) -> bool:
        """Whether any plugin implements one of these events, so that their records are worth making."""
        return any(self._implementations(event) for event in events)

    def emit(self, event: str, **records: Any) -> list[str]:
        """Call the plugins' functions for an event; what they raise comes back as text, one per plugin."""
        problems = []
        for each in self._implementations(event):
            try:
                self._call(event, each, records)
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

    def offers(self, plugin: Plugin) -> dict[str, list[str]]:
        """The names of what a plugin offers, by what it is; components as `kind:name`. Asks every plugin for it."""
        names: dict[str, list[str]] = {}
        for hook in hookspecs.OFFERS:
            keys = [key_of(hook, offer) for offer, owner in self.offered(hook) if owner.label == plugin.label]
            texts = [f"{kind}:{name}" if hook == "drystone_components" else name for kind, name in keys]
            names[hook.removeprefix("drystone_")] = sorted(texts)
        heard = (hook for hook in hookspecs.EVENTS if plugin.label in self._implementers(hook))
        return {**names, "events": [hook.removeprefix("drystone_") for hook in heard]}

    def _implementers(self, hook: str) -> set[str]:
        return {each.plugin_name for each in self._implementations(hook)}

    def _duplicates(self) -> list[tuple[str, list[Plugin]]]:
        """Every name that is claimed twice, as a sentence, and the plugins that claim it."""
        claims = [pair for hook in hookspecs.OFFERS for pair in self._claims(hook).items()]
        return [(_duplicate(key, each), [plugin for _, plugin in each]) for key, each in claims if len(each) > 1]

    def examined(self) -> list[Plugin]:
        """Every plugin, after all were asked for everything they offer; those that claim one name are conflicting."""
        errors: dict[str, list[str]] = {}
        for text, plugins in self._duplicates():
            for plugin in plugins:
                errors.setdefault(plugin.label, []).append(text)
        return [
            attrs.evolve(each, state=CONFLICTING, error=listed(errors[each.label]))
            if each.state == ACTIVE and each.label in errors
            else each
            for each in self.all
        ]

    def problems(self) -> list[str]:
        """Everything that is wrong, one sentence or more each; asks for every offer to find out."""
        duplicates = [text for text, _ in self._duplicates()]
        absences = [plugin.absence for plugin in self.all if plugin.state not in (ACTIVE, BLOCKED)]
        return list(dict.fromkeys([*self._unknown(), *absences, *duplicates]))

    def strays(self) -> list[str]:
        """What is wrong, but not with a plugin that is here.

        Such as a disabled one that nobody knows, or one that the project of the working directory requires, without
        which it finds no stacks.
        """
        return self._unknown() + unmet(project_root(), self.all)

    def _unknown(self) -> list[str]:
        names = {plugin.name for plugin in self.all}
        return [
            f"{DISABLE} names {name!r}, but no such plugin is installed.{suggestion(name, names, 'Installed')}"
            for name in sorted(self._disabled - names - {ALL})
        ]

    def absent(self) -> str:
        """A sentence for each plugin that is not active: what is missing may be missing because of it."""
        return "".join(dict.fromkeys(f" {plugin.absence}" for plugin in self.all if plugin.state != ACTIVE))


@functools.cache
def load_plugins(*, installed: bool = True) -> Plugins:
    """The plugins that are here, loaded once per process: those installed, and the files in `DRYSTONE_PLUGINS`.

    Those that `DRYSTONE_PLUGINS_DISABLE` names are left alone; `*` there stands for all that are installed.

    Args:
        installed: Whether to load more than the files.
    """
    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
    entries = importlib.metadata.entry_points(group=hookspecs.PROJECT) if installed else ()
    plugins = Plugins(entries, disabled, oneoffs.files())
    for plugin in plugins.all:
        if plugin.state not in (ACTIVE, BLOCKED):
            logging.getLogger(__name__).warning(plugin.absence)
    return plugins


def _only(key: tuple[str, str], claimants: list[tuple[Any, Plugin]]) -> tuple[Any, Plugin]:
    if len(claimants) > 1:
        raise DuplicateComponentError(_duplicate(key, claimants))
    return claimants[0]


def _duplicate(key: tuple[str, str], claimants: list[tuple[Any, Plugin]]) -> str:
    (kind, name), (_, owner), (_, plugin) = key, *claimants[:2]
    return (
        f"Both {owner.distribution} and {plugin.distribution} offer {'an' if kind[0] in 'aeiou' else 'a'} "
        f"{kind.replace('_', ' ')} named {name!r}. Uninstall one of them, or block it: {DISABLE}={plugin.name}."
    )
