"""The events of published stacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from drystone.events import Event


@attrs.frozen(kw_only=True)
class StackPublished(Event):
    """A stack can be used by its name, without the file that defines it; `number` counts its versions.

    `components` has of each part what `Stack.inventory` says, and under `values` its settings to restore it from:
    secrets as references, paths as they were written.
    """

    TYPE: ClassVar[str] = "stack.published"
    critical: ClassVar[bool] = False

    name: str
    number: int
    components: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class StackUnpublished(Event):
    """A published stack is withdrawn; that counts as a version as well."""

    TYPE: ClassVar[str] = "stack.unpublished"
    critical: ClassVar[bool] = False

    name: str
    number: int
