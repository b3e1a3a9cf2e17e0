"""What the shell may complete: names of runs, artifacts, models, stages and stacks; nothing where none is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _completer(names: Callable[[click.Context], Iterable[str]]) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            return sorted({name for name in names(ctx) if name.startswith(incomplete)})
        except Exception:  # a shell that asks for names must get names or nothing
            return []

    return complete


def _workspace() -> Any:
    from drystone import Workspace

    return Workspace.current()


def _stacks(ctx: click.Context) -> list[str]:
    from drystone import find_stacks

    return find_stacks().names


def _stages(ctx: click.Context) -> list[str]:
    model = ctx.params.get("model")
    stages: Iterable[str] = next((each.stages for each in _workspace().models(limit=None) if each.name == model), {})
    return ["production", "staging", *stages]


run_names = _completer(lambda ctx: [run.name for run in _workspace().runs(limit=200)])
artifact_names = _completer(lambda ctx: [version.name for version in _workspace().artifacts(limit=500)])
model_names = _completer(lambda ctx: [model.name for model in _workspace().models(limit=None)])
stack_names = _completer(_stacks)
stage_names = _completer(_stages)
