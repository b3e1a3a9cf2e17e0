"""What code inside a running step may know, and what it may ask for."""

from __future__ import annotations

import contextvars
import datetime
import enum
import math
import os
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from drystone.errors import StepContextError


class Effects(Protocol):
    """Collects what a step asks of the workspace; committed together with its outputs."""

    def log_metadata(self, values: Mapping[str, Any], artifact: str | None) -> None:
        """Note metadata of the step and its model version, or of one output."""

    def save_artifact(self, value: Any, name: str, **options: Any) -> Any:
        """Store a value beside the outputs."""

    def load_artifact(self, name: str, version: int | str, **options: Any) -> Any:
        """The value of a version, or a part of it, which becomes an input of the step."""


@attrs.frozen(kw_only=True)
class StepContext:
    """Where a running step finds itself.

    Attributes:
        run: Name of the run.
        parameters: The pipeline's parameters.
        model_version: The model and number the run belongs to, as `("flight_delays", 4)`, or None.
        attempt: 1 for the first try.
        components: Those of the stack that the step declares in `uses=`, by kind; each is an attribute as well.
        effects: Collects what the step asks for.
    """

    run: str
    pipeline: str
    step: str
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    model_version: tuple[str, int] | None = None
    attempt: int = 1
    components: Mapping[str, Any] = attrs.field(factory=dict)
    effects: Effects = attrs.field(eq=False, repr=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self.components:
            raise AttributeError(
                f"Step {self.step!r} has no component {name!r} in its context. Declare it: "
                f"@step(uses=[{', '.join(map(repr, (*self.components, name)))}])."
            )
        return self.components[name]


active: contextvars.ContextVar[StepContext] = contextvars.ContextVar("drystone_step")
"""The step that runs in this context; set by the worker."""


def get_context() -> StepContext:
    """The run, step, parameters, model version and attempt that the calling code belongs to.

    Raises:
        StepContextError: No step is running here.
    """
    context = active.get(None)
    if context is None:
        raise StepContextError(
            "get_context() was called outside a running step. Inside a step of a running pipeline it says which run "
            "and step that is; in a plain call of a step there is none."
        )
    return context


def log_metadata(values: Mapping[str, Any], artifact: str | None = None) -> None:
    """Log metadata of the running step and its model version, or of one of its outputs.

    In a plain call of the step (a test) nothing runs, so the values are checked and dropped.

    Args:
        values: Names and JSON values; numpy scalars, dates and paths are taken as well.
        artifact: The output they describe, instead of the step.

    Raises:
        TypeError: A value cannot be kept as metadata. Nothing was logged.
    """
    checked = checked_metadata(values)
    context = active.get(None)
    if context is not None:
        context.effects.log_metadata(checked, artifact)


def checked_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as plain JSON values.

    Raises:
        TypeError: Names every value that is none.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"Metadata is a mapping of names to values, not {type(values).__name__}.")
    problems: list[str] = []
    try:
        checked: dict[str, Any] = _plain(values, "", problems)
    except RecursionError:
        problems = ["It contains itself, or is nested too deeply."]
    if problems:
        raise TypeError(
            f"Metadata takes JSON values, numpy scalars, dates and paths. {' '.join(problems)} Nothing was logged; "
            "a large or structured value belongs into an artifact (save_artifact)."
        )
    return checked


LONGEST = 512
"""Bits of an integer that every reader of JSON can take."""


def _plain(value: Any, place: str, problems: list[str]) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value, place, problems)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        if value.bit_length() > LONGEST:
            problems.append(f"{place} is an integer of more than {LONGEST} bits.")
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, Mapping):
        if len({str(key) for key in value}) < len(value):
            problems.append(f"{place or 'It'} has several keys that read the same as text.")
        prefix = f"{place}." if place else ""
        return {str(key): _plain(item, f"{prefix}{key}", problems) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]", problems) for index, item in enumerate(value)]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        # item() of nanoseconds is a bare number, and of a long double what it was
        plain = str(value) if value.dtype.kind == "M" else value.item()
        if type(plain) is not type(value):
            return _plain(plain, place, problems)
    problems.append(f"{place} is {type(value).__module__}.{type(value).__qualname__}.")
    return None
