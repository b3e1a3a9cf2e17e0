"""`drystone why` and `diff`: what is behind the steps of recorded runs."""

from __future__ import annotations

import click

from drystone_cli import completion, records, tables


@click.command()
@click.argument("name", metavar="RUN", shell_complete=completion.run_names)
@click.argument("step", required=False, shell_complete=completion.step_names)
@tables.json_option
def why(name: str, step: str | None, as_json: bool) -> None:
    """Say why each STEP of a RUN ran, came from the cache, was skipped or failed, as that was when it did."""
    found = records.workspace().why(name, step)
    if as_json:
        tables.print_json(found.steps.values())
    else:
        tables.reasons(str(found))


@click.command()
@click.argument("before", metavar="RUN", shell_complete=completion.run_names)
@click.argument("after", metavar="RUN", shell_complete=completion.run_names)
@tables.json_option
def diff(before: str, after: str, as_json: bool) -> None:
    """Say what differs between two RUNs: parameters, code, inputs, outputs, metadata, and how long they took."""
    found = records.workspace().diff(before, after)
    if as_json:
        tables.print_json(found.differences)
    else:
        tables.reasons(str(found))
