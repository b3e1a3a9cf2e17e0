"""How steps and pipelines are run: what decorators and `with_options` take."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from drystone.declarations import Model, ModelReference
from drystone.errors import PipelineDefinitionError, suggestion
from drystone.overrides import Overrides, check_overrides

if TYPE_CHECKING:  # only annotations name them, so authoring need not wait for them
    from datetime import timedelta

    from drystone.runs import Run, StepRun


@attrs.frozen
class Retry:
    """How often a failed step is tried again, and how long to wait before.

    Attributes:
        max: Further attempts after the first.
        delay: Seconds before the second attempt.
        backoff: What the delay is multiplied by for each further one.
        jitter: Up to this share of the delay is added at random.
    """

    max: int = attrs.field(validator=attrs.validators.ge(0))
    delay: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))
    backoff: float = attrs.field(default=2.0, validator=attrs.validators.ge(1))
    jitter: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))

    def wait(self, attempt: int, chance: float) -> float:
        """Seconds to wait after a failed attempt (1 is the first), given a random number from 0 to 1."""
        return self.delay * self.backoff ** (attempt - 1) * (1 + self.jitter * chance)


def _bytes(memory: int | str | None) -> int | None:
    """An amount of memory in bytes."""
    if memory is None or isinstance(memory, int):
        return memory
    found = re.fullmatch(r"([0-9]+|[0-9]*\.[0-9]+) ?([KMGT]i?)?B?", memory.strip())
    if found is None:
        raise PipelineDefinitionError(f'memory={memory!r} is no amount of memory. Write bytes, or text like "8GiB".')
    number, unit = found.groups()
    return int(float(number) * (UNITS[unit] if unit else 1))


UNITS = {f"{letter}i": 1024**power for power, letter in enumerate("KMGT", 1)}
UNITS |= {letter: 1000**power for power, letter in enumerate("KMGT", 1)}
"""Bytes in a unit of memory: `GiB` are powers of 1024, `GB` of 1000."""


@attrs.frozen
class Resources:
    """What a step needs of the machine it runs on.

    Attributes:
        cpus: Cores; libraries that use threads are told to use as many.
        memory: Bytes, also given as text like `"8GiB"`. A step that takes more is ended.
        gpus: Graphics processors.
    """

    cpus: float | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.gt(0)))
    memory: int | None = attrs.field(
        default=None, converter=_bytes, validator=attrs.validators.optional(attrs.validators.gt(0))
    )
    gpus: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(0)))


def _retry(value: int | Retry | None) -> Retry | None:
    return Retry(value) if isinstance(value, int) else value


def _seconds(value: float | timedelta | None) -> float | None:
    return value if value is None or isinstance(value, int | float) else value.total_seconds()


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)


StepHook = Callable[["StepRun"], object]
RunHook = Callable[["Run"], object]


@attrs.frozen(kw_only=True)
class StepOptions:
    """How a step is run and cached.

    Attributes:
        cache: False: never use a stored result. A timedelta: use one no older than that.
        cache_salt: Any text; changing it makes the step run once more.
        depends_on: Objects, modules or file globs (relative to the project root) that its result depends on.
        ignore: Objects, or their canonical names, whose code and value do not count.
        ignore_inputs: Parameters that do not count.
        retries: Further attempts after a failure.
        timeout: Seconds after which it is ended.
    """

    cache: bool | timedelta | None = None
    cache_salt: str = ""
    depends_on: tuple[Any, ...] = attrs.field(default=(), converter=_several)
    ignore: tuple[Any, ...] = attrs.field(default=(), converter=_several)
    ignore_inputs: tuple[str, ...] = attrs.field(default=(), converter=_several)
    retries: Retry | None = attrs.field(default=None, converter=_retry)
    timeout: float | None = attrs.field(default=None, converter=_seconds)
    resources: Resources | None = None
    tags: Mapping[str, Any] = attrs.field(factory=dict)
    on_success: StepHook | None = None
    on_failure: StepHook | None = None


ON_ERROR = ("continue", "stop", "fail_fast")


def _known_mode(options: object, attribute: object, value: str) -> None:
    if value not in ON_ERROR:
        raise PipelineDefinitionError(f"on_error={value!r} is not known.{suggestion(value, ON_ERROR)}")


@attrs.frozen(kw_only=True)
class PipelineOptions:
    """How a pipeline is run.

    Attributes:
        model: The model it makes versions of, serves (`.shared`) or uses (`.version(…)`).
        cache: Overrides the steps that say nothing themselves; False computes everything.
        on_error: `continue` with independent branches, `stop` starting, or `fail_fast`.
        stack: Name of the stack to run on, or the stack itself.
        rerun: Names of steps to compute again, with everything that depends on them.
        version: Name of the model version it makes; may hold `{date}`, `{time}` and parameters.
        steps: Options of single steps, by name, and under `parameters` values that take the place of those which the
            body passes: `{"train": {"retries": 2, "parameters": {"depth": 10}}}`.
    """

    model: Model | ModelReference | None = None
    tags: Mapping[str, Any] = attrs.field(factory=dict)
    cache: bool | timedelta | None = None
    retries: Retry | None = attrs.field(default=None, converter=_retry)
    on_error: str = attrs.field(default="continue", validator=_known_mode)
    on_success: RunHook | None = None
    on_failure: RunHook | None = None
    stack: Any = None
    rerun: tuple[str, ...] = attrs.field(default=(), converter=_several)
    version: str | None = None
    steps: Overrides = attrs.field(factory=dict, validator=check_overrides)
