"""Container images of Drystone in any OCI registry."""

from drystone_registry.container_registry import ContainerRegistry as ContainerRegistry

__all__ = ["ContainerRegistry"]
