"""Several processes push other images under one tag, through one engine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from drystone_registry import ContainerRegistry
from services.registries import OciRegistry

PUSHING = """
import json, sys
from drystone_registry import ContainerRegistry
uri, image = sys.argv[1:]
print(json.dumps([ContainerRegistry(uri).push(image, "flights:all") for _ in range(10)]))
"""


def test_each_process_gets_the_digest_of_its_own_image(
    oci_registry: OciRegistry, small_image: Callable[[str], str]
) -> None:
    """Though the engine pushes whatever the tag means by then."""
    registry = ContainerRegistry(f"{oci_registry.address}/rivals")
    images = {text: small_image(text) for text in ("one", "two", "three")}

    def pushed(image: str) -> list[str]:
        command = [sys.executable, "-c", PUSHING, registry.uri, image]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    with ThreadPoolExecutor(3) as pool:
        for text, references in zip(images, pool.map(pushed, images.values()), strict=True):
            assert {(registry.labels(each) or {}).get("text") for each in references} == {text}
