"""What is recorded of a run whose driver died without a word."""

from __future__ import annotations

from collections.abc import Iterator

from drystone.events import Event, RunFinished, StepFinished
from drystone.index import Index
from drystone.runs import CRASHED


def crash(view: Index, run: str) -> Iterator[Event]:
    """The end of such a run: steps that were running are crashed, those that never started stay pending."""
    for step, attempts, key, body in view.unfinished_steps(run):
        facts = {**body, "error": "The driver died while this step was running."}
        yield StepFinished(run=run, step=step, status=CRASHED, attempts=attempts, key=key, **facts)
    model = view.run_model(run)
    number = view.model_version_of_run(model, run) if model else None
    yield RunFinished(
        run=run,
        status=CRASHED,
        executed=view.executed(run),
        error=f"Its driver died without a word: killed, out of memory, or the machine went down. "
        f"`drystone resume {run}` goes on where it stood.",
        model_version=(model, number) if model and number is not None else None,
    )
