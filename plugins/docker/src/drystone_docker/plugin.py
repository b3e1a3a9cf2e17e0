"""What this plugin offers."""

from drystone import StackComponent, hookimpl
from drystone_docker.orchestrator import DockerOrchestrator


@hookimpl
def drystone_components() -> list[type[StackComponent]]:
    """The orchestrator that runs steps in containers."""
    return [DockerOrchestrator]
