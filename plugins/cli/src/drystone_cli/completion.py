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


def _names(kind: str) -> Completer:
    def names(ctx: click.Context) -> Iterable[str]:
        with records.workspace().reading() as found:
            return found.index.names(kind)

    return _completer(names)


def _steps(ctx: click.Context) -> Iterable[str]:
    return records.workspace().run(ctx.params["name"]).steps


def _stacks(ctx: click.Context) -> list[str]:
    from drystone import find_stacks

    return find_stacks().names


def _stages(ctx: click.Context) -> list[str]:
    with records.workspace().reading() as found:
        return ["production", "staging", *found.index.stages(ctx.params.get("model", ""))]


run_names = _names("run")
step_names = _completer(_steps)
artifact_names = _names("artifact")
model_names = _names("model")
stack_names = _completer(_stacks)
stage_names = _completer(_stages)
