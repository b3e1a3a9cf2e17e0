"""What the shell may complete: names of runs, artifacts, models, stages and stacks; nothing where none is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from drystone_cli import records

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _completer(names: Callable[[click.Context], Iterable[str]]) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            return sorted({name for name in names(ctx) if name.startswith(incomplete)})
        except Exception:  # a shell that asks for names must get names or nothing
            return []

    return complete


def _stacks(ctx: click.Context) -> list[str]:
    from drystone import find_stacks

    return find_stacks().names


def _stages(ctx: click.Context) -> list[str]:
    model = ctx.params.get("model")
    stages: Iterable[str] = next(
        (each.stages for each in records.workspace().models(limit=None) if each.name == model), {}
    )
    return ["production", "staging", *stages]


run_names = _completer(lambda ctx: [run.name for run in records.workspace().runs(limit=200)])
artifact_names = _completer(lambda ctx: [version.name for version in records.workspace().artifacts(limit=500)])
model_names = _completer(lambda ctx: [model.name for model in records.workspace().models(limit=None)])
stack_names = _completer(_stacks)
stage_names = _completer(_stages)
