"""Run the whole example and tell what happened: `python docs/examples/flights/run.py`."""

from __future__ import annotations

import datetime
import os
import sys
import time
from pathlib import Path

started_in = Path.cwd()
os.chdir(Path(__file__).parent)  # the project is here, wherever this is started from
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the processor to other programs

from drystone import Run, Workspace  # noqa: E402 - the project is found from the working directory
from flights.pipelines import delays, feature_engineering, inference, training  # noqa: E402

CANDIDATES = [
    {"leaves": 15, "rounds": 60, "learning_rate": 0.1},
    {"leaves": 31, "rounds": 120, "learning_rate": 0.08},
]
DAY = datetime.date(2013, 12, 17)


def effort(run: Run) -> str:
    """How much of a run was computed, and how much was there already."""
    cached = sum(step.status == "cached" for step in run.steps.values())
    took = (run.ended_at - run.started_at).total_seconds() if run.ended_at else 0.0
    if not run.executed:
        return f"{run.name}: nothing to do, all {cached} steps came from the cache ({took:.1f} s)"
    computed = f"{run.executed} step{'s' if run.executed > 1 else ''} computed"
    return f"{run.name}: {computed}, {cached} from the cache ({took:.1f} s)"


def make_features() -> Run:
    """Feature engineering, and how the flights were divided."""
    run = feature_engineering()
    counts = run.steps["split"].metadata
    print("1. Features: flights joined with weather and planes, divided by time")
    print(f"   {effort(run)}")
    print(f"   {run.output}: {counts['training_rows']:,} flights to learn from, {counts['held_out_rows']:,} held out")
    return run


def train_candidates() -> list[Run]:
    """One model version per set of parameters."""
    print("\n2. Training: two candidates, judged on the days that were held out")
    runs = []
    for parameters in CANDIDATES:
        run = training(**parameters)
        metrics = run.steps["evaluate"].metadata
        print(f"   {effort(run)}")
        print(
            f"   {run.model_version}: AUC {metrics['auc']:.4f}, log loss {metrics['log_loss']:.4f}, accuracy "
            f"{metrics['accuracy']:.1%} (always saying 'on time' scores {1 - metrics['base_rate']:.1%})"
        )
        runs.append(run)
    return runs


def promote_best() -> None:
    """The version with the highest AUC goes to production, unless it is there already."""
    workspace = Workspace.current()
    judged = [each for each in workspace.model_versions(delays.name) if "auc" in each.metadata]
    best = max(judged, key=lambda version: (version.metadata["auc"], "production" in version.stages))
    print(f"\n3. Promotion: {best} has the best AUC of {len(judged)} versions, {best.metadata['auc']:.4f}")
    if "production" in best.stages:
        print("   it is in production already")
    else:
        workspace.promote(delays.name, best.number, "production", reason=f"best AUC: {best.metadata['auc']:.4f}")
        print("   it is in production now")


def predict_day() -> None:
    """Predictions by the production version, and the flights most at risk."""
    run = inference(DAY)
    predictions = run.outputs["delay_predictions"]
    report = run.steps["compare"].metadata[f"inference {DAY}"]
    print(f"\n4. Inference: the flights of {DAY:%d %B %Y}, by {run.model_version}")
    print(f"   {effort(run)}")
    print(
        f"   {predictions}: {report['flights']} flights, {report['foreseen_late_share']:.0%} foreseen late; "
        f"{report['late_share']:.0%} were (AUC {report['auc']:.3f})"
    )
    print("   most at risk:")
    for flight in predictions.load().head(3).itertuples():
        print(
            f"     {flight.carrier} {flight.flight:<5} {flight.origin} to {flight.dest}, "
            f"{flight.sched_dep_time // 100:02}:{flight.sched_dep_time % 100:02}   {flight.risk:.0%}"
        )


def main() -> None:
    """The story, from raw data to predictions."""
    began = time.perf_counter()
    print("Which flights out of New York arrive 15 or more minutes late? 336,776 flights of 2013.\n")
    runs = [make_features(), *train_candidates()]
    promote_best()
    predict_day()
    done = f"Done in {time.perf_counter() - began:.0f} s."
    if not any(run.executed for run in runs):
        done += " Nothing had changed since the last time, so nothing was computed again."
    print(f"\n{done}\n\nWhere to look next:")
    if Path.cwd() != started_in:
        print(f"  source {os.path.relpath(Path(sys.prefix, 'bin/activate'), started_in)}")
        print(f"  cd {os.path.relpath(Path.cwd(), started_in)}")
    print(f"  drystone models versions {delays.name}     the candidates side by side")
    print(f"  drystone models history {delays.name} production     who was in production, when and why")
    print("  drystone artifacts list     everything that was made")
    print("  drystone plan flights.pipelines:training --param leaves=63     what would run, and why")
    print("  Edit minutes_between in flights/times.py and plan again; then edit a comment.")


if __name__ == "__main__":
    main()
