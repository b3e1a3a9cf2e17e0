"""What a container is handed: its variables, and secrets, which stand in none of what the engine keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping

from drystone import Secret
from drystone_docker.images import Image

PLACE, VARIABLES = "DRYSTONE_SECRETS", "DRYSTONE_SECRET_ENVIRONMENT"
"""Variables that say where secrets are handed over, and which variables become of them inside."""


def handed(image: Image, environment: Mapping[str, str], secrets: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The variables of a container, and what it reads from its standard input: secrets, by reference.

    Args:
        image: Has variables of its own.
        environment: Variables that the command needs.
        secrets: Texts by reference, which it needs.

    Raises:
        StackError: A secret among the image's variables is not there.
    """
    chosen = image.environment or {}
    hidden = {name: value for name, value in chosen.items() if isinstance(value, Secret)}
    variables = {name: value for name, value in chosen.items() if isinstance(value, str)} | dict(environment)
    if hidden:
        variables[VARIABLES] = json.dumps({name: secret.reference for name, secret in hidden.items()})
    texts = {**secrets, **{secret.reference: secret.resolve() for secret in hidden.values()}}
    if not texts:
        return variables, ""
    return variables | {PLACE: "-"}, f"{json.dumps(texts)}\n"
