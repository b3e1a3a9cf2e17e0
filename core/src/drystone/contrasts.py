"""Contrasts: what two stacks have differently, kind by kind and setting by setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from drystone.components import setting_to_json
from drystone.stacks import Stack

ADDED, REMOVED, CHANGED = "added", "removed", "changed"


@attrs.frozen(kw_only=True)
class SettingChange:
    """One thing that two stacks have differently.

    Attributes:
        kind: Of the component, as `orchestrator`; of an orchestrator for steps, `step_orchestrators.big`.
        setting: Which one, as `workers` or `options.endpoint`; `class` where the components are of different classes.
        change: `added`, `removed` or `changed`.
        before: What it is in the first stack, secrets as references, what is hidden as `…`; None if it is not there.
        after: What it is in the second.
    """

    kind: str
    setting: str
    change: str
    before: Any = None
    after: Any = None

    @property
    def path(self) -> str:
        """Kind and setting: `orchestrator.workers`."""
        return f"{self.kind}.{self.setting}"

    def __str__(self) -> str:
        """One line, as `changed  orchestrator.workers: 2 → 4`."""
        sides = {ADDED: f"{self.after!r}", REMOVED: f"{self.before!r}", CHANGED: f"{self.before!r} → {self.after!r}"}
        return f"{self.change:<8} {self.path}: {sides[self.change]}"


def stack_diff(before: Stack, after: Stack) -> list[SettingChange]:
    """What two stacks have differently, whatever they are called; hidden settings are compared, and not shown.

    Args:
        before: As it is defined, or bound to a place by `at`; the other one likewise.
        after: The second stack.
    """
    exact = [{label: _exact(each) for label, each in stack.parts.items()} for stack in (before, after)]
    return list(contrasts(before.inventory(), after.inventory(), *exact))


def _exact(component: Any) -> Any:
    return {"settings": setting_to_json(component, hide=repr)}


def contrasts(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    exact_before: Mapping[str, Any] | None = None,
    exact_after: Mapping[str, Any] | None = None,
) -> Iterator[SettingChange]:
    """What differs between components as `Stack.inventory` has them; where it hides, what is exact decides."""
    old, new = dict(_flat(before)), dict(_flat(after))
    exactly = [dict(_flat(each)) for each in (exact_before or before, exact_after or after)]
    for kind, setting in dict.fromkeys([*old, *new]):
        key = kind, setting
        sides = old.get(key), new.get(key)
        if key not in old or key not in new:
            change = REMOVED if key in old else ADDED
            yield SettingChange(kind=kind, setting=setting, change=change, before=sides[0], after=sides[1])
        elif sides[0] != sides[1] or exactly[0].get(key) != exactly[1].get(key):
            yield SettingChange(kind=kind, setting=setting, change=CHANGED, before=sides[0], after=sides[1])


def _flat(components: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Any]]:
    for kind, each in components.items():
        if "class" in each:
            yield (kind, "class"), each["class"]
        for path, value in _paths(each["settings"]):
            yield (kind, path), value


def _paths(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _paths(item, f"{path}.{key}".lstrip("."))
    elif path:
        yield path, value
