"""The events of artifact stores: what they hold beside what was saved into them, and what they have lost."""

from __future__ import annotations

from typing import ClassVar

import attrs

from drystone.events import Event, Pair


@attrs.frozen(kw_only=True)
class ArtifactsCopied(Event):
    """A store that several machines reach holds some artifact versions as well."""

    TYPE: ClassVar[str] = "artifacts.copied"
    critical: ClassVar[bool] = False

    store: str
    versions: tuple[Pair, ...]


@attrs.frozen(kw_only=True)
class BlobsMissed(Event):
    """Blobs that a store should hold were not there when somebody looked: from now on it is asked, not trusted."""

    TYPE: ClassVar[str] = "blobs.missed"
    critical: ClassVar[bool] = False

    store: str
    digests: tuple[str, ...]
