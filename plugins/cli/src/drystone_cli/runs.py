"""`drystone runs`: what ran."""

from __future__ import annotations

from typing import Any

import click

from drystone_cli import completion, records, tables

STATUSES = ("running", "succeeded", "failed", "cancelled", "crashed")

COLUMNS: list[tables.Column] = [
    ("RUN", lambda run: run.name),
    ("STATUS", lambda run: run.status),
    ("STEPS", lambda run: steps_text(run)),
    ("STARTED", lambda run: run.started_at),
    ("TOOK", tables.duration),
    ("STACK", lambda run: run.stack),
    ("MODEL", lambda run: run.model_version),
    ("TAGS", lambda run: run.tags),
]

STEP_COLUMNS: list[tables.Column] = [
    ("STEP", lambda step: step.name),
    ("STATUS", lambda step: step.status),
    ("TOOK", tables.duration),
    ("OUTPUTS", lambda step: list(step.outputs.values())),
    ("WHY", lambda step: why(step)),
]


@click.group()
def runs() -> None:
    """List and show runs."""


@runs.command("list")
@click.option("--pipeline", help="Only runs of this pipeline.")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs with this status.")
@click.option("--tag", help="Only runs with this tag: NAME, or NAME=VALUE.")
@click.option("--model", help="Only runs that belong to this model.", shell_complete=completion.model_names)
@tables.limit_option
@tables.json_option
def list_(limit: int, as_json: bool, **filters: Any) -> None:
    """List runs, the newest first."""
    found = records.workspace().runs(limit=limit + 1, **filters)
    empty = "No run fits." if any(filters.values()) else "No runs here. `drystone run TARGET` makes one."
    tables.listing(found, COLUMNS, as_json=as_json, limit=limit, empty=empty)


@runs.command()
@click.argument("name", metavar="RUN", shell_complete=completion.run_names)
@click.option("--logs", is_flag=True, help="Print what its steps printed, too.")
@tables.json_option
def show(name: str, logs: bool, as_json: bool) -> None:
    """Show one run with its steps."""
    run = records.workspace().run(name)
    if as_json:
        tables.print_json([run])
        return
    describe(run)
    for step in run.steps.values() if logs else ():
        text = step.logs().rstrip()
        if text:
            tables.heading(f"Log of {step.name}")
            print(text)


def describe(run: Any) -> None:
    """Print a run: what it is, its steps, its errors."""
    tables.fields(
        {
            "run": run.name,
            "status": run.status,
            "steps": steps_text(run),
            "parameters": run.parameters,
            "options": run.options,
            "stack": run.stack,
            "started": run.started_at,
            "took": tables.duration(run),
            "model version": run.model_version,
            "outputs": list(run.outputs.values()),
            "tags": run.tags,
            "commit": f"{run.code.commit}{' and changed files' if run.code.dirty else ''}" if run.code.commit else None,
            "target": run.target,
            "author": run.author,
            "error": run.error,
        }
    )
    if run.components:
        tables.heading(f"Stack {run.stack}")
        tables.fields({kind: _component(each) for kind, each in run.components.items()})
    tables.heading("Steps")
    tables.listing(list(run.steps.values()), STEP_COLUMNS, as_json=False)
    for step in run.steps.values():
        if step.metadata:
            tables.heading(f"Metadata of {step.name}")
            tables.fields(step.metadata)
    for step in run.steps.values():
        if step.status == "failed" and step.error:
            tables.heading(f"Error of {step.name}")
            print(step.error.rstrip())


def _component(described: Any) -> str:
    """A component of the stack of a run, with its settings: `local (workers=4)`."""
    return f"{described['name']} ({tables.shown(described['settings'])})"


def steps_text(run: Any) -> str:
    """How many steps of a run ended how: `3 succeeded, 2 cached`."""
    counts: dict[str, int] = {}
    for step in run.steps.values():
        counts[step.status] = counts.get(step.status, 0) + 1
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def why(step: Any) -> str:
    """Why a step ran, or where its result is from, or why it did not run."""
    if step.cached_from:
        return f"from {step.cached_from}"
    if step.status in ("skipped", "cancelled"):
        return step.error or ""
    return step.reason or ""
