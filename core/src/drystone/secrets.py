"""Secrets: references to texts that stand in no code, no record and no output."""

from __future__ import annotations

import os

import attrs

from drystone.errors import StackError


@attrs.frozen
class Secret:
    """A reference to a secret: `Secret("env:S3_KEY")` reads the environment variable when it is needed.

    Only the reference is shown, published and kept; the text never is.
    """

    reference: str = attrs.field()

    @reference.validator
    def _check(self, attribute: object, value: str) -> None:
        scheme, _, name = value.partition(":")
        if scheme != "env" or not name:
            raise StackError(
                'A secret is written as a reference, like Secret("env:S3_KEY"). Known schemes: env. If this was the '
                "secret itself, it does not belong in code."
            )

    def resolve(self) -> str:
        """The secret's text.

        Raises:
            StackError: The environment variable is not set.
        """
        name = self.reference.partition(":")[2]
        if name not in os.environ:
            raise StackError(f"The secret {self.reference!r} is not there: set the environment variable {name}.")
        return os.environ[name]
