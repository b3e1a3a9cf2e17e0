"""Drystone: machine-learning pipelines on stacks of plugins, without a server.

Everything public is importable from here; a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers see of the table below
    from drystone.artifacts import Artifact as Artifact
    from drystone.artifacts import ArtifactVersion as ArtifactVersion
    from drystone.blobs import BlobReader as BlobReader
    from drystone.blobs import BlobWriter as BlobWriter
    from drystone.components import ArtifactStore as ArtifactStore
    from drystone.components import ContainerRegistry as ContainerRegistry
    from drystone.components import FsspecArtifactStore as FsspecArtifactStore
    from drystone.components import Orchestrator as Orchestrator
    from drystone.components import Place as Place
    from drystone.components import RunContext as RunContext
    from drystone.components import Secret as Secret
    from drystone.components import StackComponent as StackComponent
    from drystone.contexts import get_context as get_context
    from drystone.contexts import log_metadata as log_metadata
    from drystone.hookspecs import hookimpl as hookimpl
    from drystone.materializers import Materializer as Materializer
    from drystone.models import Model as Model
    from drystone.models import ModelVersion as ModelVersion
    from drystone.pipelines import Resources as Resources
    from drystone.pipelines import Retry as Retry
    from drystone.pipelines import pipeline as pipeline
    from drystone.pipelines import step as step
    from drystone.planning import Plan as Plan
    from drystone.plugins import load_plugins as load_plugins
    from drystone.projects import find_pipeline as find_pipeline
    from drystone.projects import project_root as project_root
    from drystone.runs import Run as Run
    from drystone.runs import StepRun as StepRun
    from drystone.stacks import Stack as Stack
    from drystone.stacks import find_stacks as find_stacks
    from drystone.workspaces import Workspace as Workspace
    from drystone.workspaces import load_artifact as load_artifact
    from drystone.workspaces import save_artifact as save_artifact

_HOMES = {
    "artifacts": ("Artifact", "ArtifactVersion"),
    "blobs": ("BlobReader", "BlobWriter"),
    "components": (
        "ArtifactStore",
        "ContainerRegistry",
        "FsspecArtifactStore",
        "Orchestrator",
        "Place",
        "RunContext",
        "Secret",
        "StackComponent",
    ),
    "contexts": ("get_context", "log_metadata"),
    "hookspecs": ("hookimpl",),
    "materializers": ("Materializer",),
    "models": ("Model", "ModelVersion"),
    "pipelines": ("Resources", "Retry", "pipeline", "step"),
    "planning": ("Plan",),
    "plugins": ("load_plugins",),
    "runs": ("Run", "StepRun"),
    "projects": ("find_pipeline", "project_root"),
    "stacks": ("Stack", "find_stacks"),
    "workspaces": ("Workspace", "load_artifact", "save_artifact"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'drystone' has no attribute {name!r}. It has: {', '.join(__all__)}.")
    value = getattr(import_module(f"drystone.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
