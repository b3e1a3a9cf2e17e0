"""Runs the steps of Drystone in containers of a Docker engine, from images that it builds."""

from drystone_docker.images import Image as Image
from drystone_docker.orchestrator import DockerOrchestrator as DockerOrchestrator

__all__ = ["DockerOrchestrator", "Image"]
