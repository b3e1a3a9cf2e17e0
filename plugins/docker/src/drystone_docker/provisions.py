"""Images as an orchestrator needs them: looked at once, and made once."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from drystone import Environment
from drystone_docker.images import Image


class Provisions:
    """Images, and what is known of them already. All methods may be called from several threads.

    Args:
        images: Makes and finds them.
    """

    def __init__(self, images: Any) -> None:
        self._images = images
        self._lock = threading.Lock()
        self._environments: dict[str, Environment] = {}
        self._ids: dict[str, str] = {}

    def environment(self, image: Image) -> Environment:
        """What code finds in an image."""
        with self._lock:
            key = repr(image)
            if key not in self._environments:
                self._environments[key] = self._images.environment(image)
            return self._environments[key]

    def provide(self, images: Iterable[Image]) -> None:
        """Make those that are not there, each once."""
        with self._lock:
            for image in {repr(each): each for each in images}.values():
                self._images.provide(image)
            self._environments.clear()
            self._ids.clear()

    def on_engine(self, image: Image) -> str:
        """The engine's id of an image."""
        with self._lock:
            key = repr(image)
            if key not in self._ids:
                self._ids[key] = self._images.on_engine(image)
            return self._ids[key]

    def forget(self, image: Image) -> None:
        """An image is not where it was."""
        with self._lock:
            self._ids.pop(repr(image), None)
