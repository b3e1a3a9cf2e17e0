"""What is known of a plugin without importing it: whose it is, in which state, and whether it fits this core."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint

import attrs

from drystone.catalogs import CORE, version_of

ACTIVE, BROKEN, INCOMPATIBLE, BLOCKED, CONFLICTING = "active", "broken", "incompatible", "blocked", "conflicting"

DISABLE = "DRYSTONE_PLUGINS_DISABLE"
"""The environment variable that names plugins to be left alone, separated by commas; `*` stands for all installed."""

ALL = "*"


@attrs.frozen(kw_only=True)
class Plugin:
    """One plugin: installed, or a file that was named.

    Attributes:
        name: Of its entry point, or of the file.
        distribution: Who brings it; the path of a file.
        module: What its entry point names.
        state: `active`, `broken`, `incompatible`, `blocked` or `conflicting`.
        error: Why it is not active, as text; with the traceback where one led there.
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
    def traceback(self) -> str | None:
        """Of the exception that broke it, if one did."""
        return self.error if (self.error or "").startswith("Traceback") else None

    @property
    def summary(self) -> str:
        """Its error in one line; of a traceback, the end."""
        lines = (self.error or "").strip().splitlines()
        return lines[-1] if self.traceback else " ".join(line.strip() for line in lines)

    @property
    def absence(self) -> str:
        """Why nothing of it is here, if it is not active."""
        if self.state == BLOCKED:
            return f"The plugin {self.label} is blocked by {DISABLE}."
        if self.state == CONFLICTING:
            return self.summary
        why = self.summary.rstrip(".")
        if self.state == INCOMPATIBLE:
            return f"The plugin {self.label} is incompatible: {why}."
        return f"The plugin {self.label} is installed but broken: {why}. `drystone plugins doctor` shows all of it."


def found(entries: Iterable[EntryPoint], disabled: Collection[str]) -> list[tuple[EntryPoint, Plugin]]:
    """Entry points and what they are known to be, by name; those to be imported are active."""
    named = [(entry, _named(entry)) for entry in entries]
    named.sort(key=lambda pair: (pair[1].name, pair[1].distribution))
    return [(entry, _judged(entry, plugin, [each for _, each in named], disabled)) for entry, plugin in named]


def _named(entry: EntryPoint) -> Plugin:
    said = entry.dist.metadata if entry.dist else None
    owner, version = (said[name] if said and name in said else "" for name in ("Name", "Version"))
    distribution = owner or "an unknown distribution"  # its metadata may be lost
    return Plugin(name=entry.name, distribution=distribution, version=version, module=entry.value)


def _judged(entry: EntryPoint, plugin: Plugin, every: list[Plugin], disabled: Collection[str]) -> Plugin:
    twins = [each for each in every if each.name == plugin.name]
    if ALL in disabled or plugin.name in disabled:
        return attrs.evolve(plugin, state=BLOCKED)
    if len(twins) > 1:
        return attrs.evolve(plugin, state=CONFLICTING, error=_conflict(twins))
    misfit = _misfit(entry)
    return attrs.evolve(plugin, state=INCOMPATIBLE, error=misfit) if misfit else plugin


def _conflict(twins: list[Plugin]) -> str:
    owners = sorted({f"{each.distribution} {each.version}".rstrip() for each in twins})
    ways = " or ".join(f"pip uninstall {name}" for name in sorted({each.distribution for each in twins}))
    return (
        f"The name of the plugin {twins[0].name!r} is claimed {'twice by' if len(owners) == 1 else 'by both'} "
        f"{' and '.join(owners)}, so none of them is loaded. Uninstall one: {ways}."
    )


def _misfit(entry: EntryPoint) -> str | None:
    """Why a plugin is not made for the core that is installed, if its distribution says so."""
    installed = version_of(CORE)
    lines = (entry.dist.requires if entry.dist else None) or ()
    ranges = [line for line in lines if re.match(r"drystone[-_.]core\b(?![-_.])", line, re.IGNORECASE)]
    if not ranges or installed is None:
        return None
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - costs 0.03 s

    for line in ranges:
        try:
            wanted = Requirement(line)
        except InvalidRequirement as exc:
            return f"what it says of drystone-core cannot be read: {exc}"
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if applies and not wanted.specifier.contains(installed, prereleases=True):
            name = entry.dist.name if entry.dist else ""
            return (
                f"it requires {CORE}{wanted.specifier}, and {installed} is installed. Install a version that fits: "
                f"pip install --upgrade {name} {CORE}."
            )
    return None
