"""What plugins may return for the hooks that offer something, and what core offers itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from drystone.components import StackComponent
from drystone.errors import PluginLoadError
from drystone.filesystems import FsspecArtifactStore
from drystone.materializers import BUILT_IN, Materializer
from drystone.stacks import Stack

OWN: dict[str, tuple[type, ...]] = {"drystone_components": (FsspecArtifactStore,), "drystone_materializers": BUILT_IN}
"""What core offers itself."""

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


def key_of(hook: str, offer: Any) -> tuple[str, str]:
    """Kind and name, by which an offer is found."""
    return (offer.kind if hook == "drystone_components" else kind_of(hook)), offer.name


def kind_of(hook: str) -> str:
    """What messages call the offers of a hook, in the singular."""
    return hook.removeprefix("drystone_").removesuffix("s")


def checked(hook: str, offers: Any) -> list[Any]:
    """What a plugin returned for a hook, as a list.

    Raises:
        PluginLoadError: It is not what the hook asks for.
    """
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
