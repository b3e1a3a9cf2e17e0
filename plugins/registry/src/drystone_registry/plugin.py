"""What this plugin offers."""

from drystone import StackComponent, hookimpl
from drystone_registry.container_registry import ContainerRegistry


@hookimpl
def drystone_components() -> list[type[StackComponent]]:
    """The registry that speaks OCI's distribution API."""
    return [ContainerRegistry]
