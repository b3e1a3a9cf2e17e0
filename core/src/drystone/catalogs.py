"""What to install: the official distributions, and what each of them brings."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

import attrs

CORE = "drystone-core"


@attrs.frozen(kw_only=True)
class Catalog:
    """What one distribution brings.

    Attributes:
        components: `kind:name` of each.
        schemes: Of URLs of stores and workspaces.
        secrets: Schemes of secrets.
        types: How the full names of types begin that it has materializers for.
    """

    components: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


OFFICIAL: Mapping[str, Catalog] = {
    "drystone-local": Catalog(
        components=("orchestrator:local", "artifact_store:local"), schemes=("file",), secrets=("file",)
    ),
    "drystone-docker": Catalog(components=("orchestrator:docker",)),
    "drystone-s3": Catalog(components=("artifact_store:s3",), schemes=("s3", "s3a")),
    "drystone-registry": Catalog(components=("container_registry:oci",)),
    "drystone-scheduler": Catalog(components=("scheduler:apscheduler",)),
    "drystone-data": Catalog(types=("numpy.", "pandas.", "polars.", "pyarrow.", "sklearn.", "matplotlib.", "torch.")),
    "drystone-cli": Catalog(),
}


def providing(*, component: str = "", scheme: str = "", secret: str = "", type_name: str = "") -> str:
    """The sentence that says what to install for a component (`kind:name`), a scheme or a type; empty if unknown."""
    for distribution, brings in OFFICIAL.items():
        named = component in brings.components or scheme in brings.schemes or secret in brings.secrets
        if named or type_name.startswith(brings.types):
            return "" if version_of(distribution) else f" {install(distribution)}"
    return ""


def providers(kind: str) -> list[str]:
    """The official distributions that bring components of a kind and are not installed."""
    bringing = [name for name, brings in OFFICIAL.items() if any(kind == of(each) for each in brings.components)]
    return [name for name in bringing if not version_of(name)]


def of(component: str) -> str:
    """The kind of `kind:name`."""
    return component.partition(":")[0]


def install(provider: str) -> str:
    """How to get what a provider brought: a distribution, or the file of a plugin."""
    if provider.endswith(".py"):
        return f"It comes from a file: drystone --plugin {provider}."
    return f"Install it: pip install {provider}."


def version_of(distribution: str) -> str | None:
    """The version that is installed, if any is."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
