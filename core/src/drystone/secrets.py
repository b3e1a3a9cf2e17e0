"""Secrets: references to texts that stand in no code, no record and no output."""

from __future__ import annotations

import os
import re

import attrs

from drystone.catalogs import providing
from drystone.declarations import imported
from drystone.errors import StackError, message_of, suggestion

ENVIRONMENT = "env"
"""The scheme that core knows itself: names of environment variables."""

HOOK = "drystone_secret_resolvers"

PLUGINS = "drystone.plugins:load_plugins"
"""What finds the plugins that know other schemes; imported when such a secret is first resolved, never before."""


handed: dict[str, str] = {}
"""Texts by reference that whoever started this process gave it, so that it need not know where they are kept."""


@attrs.frozen
class Secret:
    """A reference to a secret: `Secret("env:S3_KEY")` reads the environment variable when it is needed.

    Plugins offer other schemes, such as `file` of drystone-local: `Secret("file:/run/secrets/s3-key")`. Only the
    reference is shown, published and kept; the text never is.
    """

    reference: str = attrs.field()

    @reference.validator
    def _check(self, attribute: object, value: str) -> None:
        if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9_.+-]*:.+", value):
            raise StackError(
                'A secret is written as a reference, a scheme and a name, like Secret("env:S3_KEY"). If this was the '
                "secret itself, it does not belong in code."
            )

    def resolve(self) -> str:
        """The secret's text: what this process was handed, else what its scheme leads to.

        Raises:
            StackError: It is not there, or nothing installed knows its scheme.
            DuplicateComponentError: Two plugins claim its scheme.
        """
        if self.reference in handed:
            return handed[self.reference]
        scheme, _, name = self.reference.partition(":")
        if scheme == ENVIRONMENT:
            if name not in os.environ:
                raise StackError(f"The secret {self.reference!r} is not there: set the environment variable {name}.")
            return os.environ[name]
        plugins = imported(PLUGINS)()
        found = plugins.scheme(HOOK, scheme)
        if found is None:
            known = [ENVIRONMENT, *plugins.schemes(HOOK)]
            raise StackError(
                f"Nothing installed knows where the secret {self.reference!r} is: no plugin offers the scheme "
                f"{scheme!r}.{suggestion(scheme, known, 'Schemes')}{providing(secret=scheme)}{plugins.absent()}"
            )
        try:
            return str(found(name))
        except LookupError as exc:
            raise StackError(f"The secret {self.reference!r} cannot be had: {message_of(exc)}") from exc
        except Exception as exc:  # whose text nobody wrote for others to read
            raise StackError(f"The secret {self.reference!r} cannot be had: {type(exc).__name__}.") from None
