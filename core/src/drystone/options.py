"""Values of a step's options: what is tried again, and what a step needs of the machine it runs on."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

from drystone.errors import PipelineDefinitionError

Predicate = Callable[[BaseException], bool]


@attrs.frozen
class Retry:
    """How often a failed step is tried again, and how long to wait before.

    Attributes:
        max: Further attempts after the first.
        delay: Seconds before the second attempt.
        backoff: What the delay is multiplied by for each further one.
        jitter: Up to this share of the delay is added at random.
        when: What is tried again: classes of exceptions, or a function that says it of an exception. Everything that a
            step raises, by default, and what ends its worker.
    """

    max: int = attrs.field(validator=attrs.validators.ge(0))
    delay: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))
    backoff: float = attrs.field(default=2.0, validator=attrs.validators.ge(1))
    jitter: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    when: Predicate | type[BaseException] | tuple[type[BaseException], ...] = Exception

    def covers(self, exception: BaseException) -> bool:
        """Whether a step that raised this is tried again."""
        if isinstance(self.when, type | tuple):
            return isinstance(exception, self.when)
        return bool(self.when(exception))

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
