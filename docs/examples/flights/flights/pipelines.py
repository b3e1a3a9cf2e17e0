"""Three pipelines around one model: features, training, and the predictions for one day.

scikit-learn takes seconds to import, so the steps that need it do that themselves: a run whose steps all come from the
cache never does.
"""

# ruff: noqa: PLC0415 - the reason is above

from __future__ import annotations

import datetime
from typing import Annotated

import pandas as pd

from drystone import Artifact, Model, log_metadata, pipeline, step
from flights import data

delays = Model("flight_delays", tags={"team": "ops"}, description="Will a flight arrive 15 or more minutes late?")
production = delays.version("production")

# --- feature engineering ---------------------------------------------------------------------------------------------


@step
def load_flights(release: str) -> Annotated[pd.DataFrame, Artifact("flights")]:
    """Every flight of 2013: its schedule, and how late it arrived."""
    return data.read("flights.csv.zip")[[*data.SCHEDULE, data.OUTCOME]]


@step
def load_weather(release: str) -> Annotated[pd.DataFrame, Artifact("weather")]:
    """Hourly weather at the three airports."""
    return data.read("weather.csv")


@step
def load_planes(release: str) -> Annotated[pd.DataFrame, Artifact("planes")]:
    """What is known of each plane."""
    return data.read("planes.csv")


@step
def clean(flights: pd.DataFrame) -> Annotated[pd.DataFrame, Artifact("arrived_flights")]:
    """Flights that arrived where they were meant to: of the others nobody knows how late they were."""
    arrived = flights[flights[data.OUTCOME].notna()].drop_duplicates().reset_index(drop=True)
    log_metadata({"flights": len(flights), "arrived": len(arrived)})
    return arrived


@step
def join(
    flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame
) -> Annotated[pd.DataFrame, Artifact("joined_flights")]:
    """Flights with weather and plane, as rows that a model can read."""
    return data.features(data.joined(flights, weather, planes))


@step
def split(rows: pd.DataFrame, holdout_from: datetime.date) -> Annotated[pd.DataFrame, Artifact("flight_features")]:
    """Divide by time: a model is judged on days that came after all it has seen."""
    held_out = data.date(rows) >= pd.Timestamp(holdout_from)
    kept = rows[[*data.FEATURES, data.OUTCOME]].assign(held_out=held_out)
    log_metadata({"training_rows": int((~held_out).sum()), "held_out_rows": int(held_out.sum())})
    return kept


@pipeline(model=delays.shared)
def feature_engineering(holdout_from: datetime.date = datetime.date(2013, 10, 1)):
    """Flights joined with weather and planes, cleaned and split by time."""
    release = data.release()
    rows = join(clean(load_flights(release)), load_weather(release), load_planes(release))
    return split(rows, holdout_from)


# --- training --------------------------------------------------------------------------------------------------------


@step
def train(
    rows: pd.DataFrame, leaves: int, rounds: int, learning_rate: float
) -> Annotated[data.Classifier, Artifact("delay_classifier", kind="model")]:
    """A gradient-boosted classifier of late arrivals, from the days before the held-out ones."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    known = rows[~rows["held_out"]]
    classifier = HistGradientBoostingClassifier(
        max_leaf_nodes=leaves,
        max_iter=rounds,
        learning_rate=learning_rate,
        categorical_features="from_dtype",
        random_state=0,
    )
    return classifier.fit(known[data.FEATURES], data.is_late(known))


@step
def evaluate(classifier: data.Classifier, rows: pd.DataFrame) -> Annotated[dict[str, float], Artifact("delay_metrics")]:
    """How good it is on the held-out days."""
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    unseen = rows[rows["held_out"]]
    late, risk = data.is_late(unseen), classifier.predict_proba(unseen[data.FEATURES])[:, 1]
    metrics = {
        "auc": float(roc_auc_score(late, risk)),
        "log_loss": float(log_loss(late, risk)),
        "accuracy": float(accuracy_score(late, risk >= 0.5)),
        "base_rate": float(late.mean()),
    }
    log_metadata(metrics)
    return metrics


@pipeline(model=delays)
def training(leaves: int = 31, rounds: int = 150, learning_rate: float = 0.1):
    """Train on the newest features and judge on the days that were held out. Every run makes a model version."""
    rows = delays.artifact("flight_features")
    classifier = train(rows, leaves, rounds, learning_rate)
    return classifier, evaluate(classifier, rows)


# --- inference -------------------------------------------------------------------------------------------------------


@step
def day_batch(
    flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame, day: datetime.date
) -> Annotated[pd.DataFrame, Artifact("day_batch")]:
    """The flights scheduled for one day, cancelled ones included: that morning nobody knows which."""
    batch = data.features(data.joined(data.on_day(flights, day), weather, planes))
    if batch.empty:
        raise ValueError(f"No flight is scheduled for {day}. The data covers 2013.")
    return batch


@step
def predict(classifier: data.Classifier, batch: pd.DataFrame) -> Annotated[pd.DataFrame, Artifact("delay_predictions")]:
    """The risk of each flight, the highest first."""
    risk = classifier.predict_proba(batch[data.FEATURES])[:, 1]
    return batch[data.SCHEDULE].assign(risk=risk).sort_values("risk", ascending=False, ignore_index=True)


@step
def compare(
    predictions: pd.DataFrame, batch: pd.DataFrame, day: datetime.date
) -> Annotated[dict[str, float | None], Artifact("delay_report")]:
    """What was foreseen and what came, on record with the model version that foresaw it."""
    from sklearn.metrics import roc_auc_score

    arrived = batch[batch[data.OUTCOME].notna()]
    foreseen = arrived.merge(predictions, on=["carrier", "flight", "time_hour", "origin", "dest"])
    late = data.is_late(foreseen)
    report = {
        "flights": len(predictions),
        "foreseen_late_share": float(predictions["risk"].mean()),
        "late_share": float(late.mean()),
        "auc": float(roc_auc_score(late, foreseen["risk"])) if late.nunique() == 2 else None,
    }
    log_metadata({f"inference {day}": report})
    return report


@pipeline(model=production)
def inference(day: datetime.date):
    """Predictions for one day by the version in production."""
    release = data.release()
    batch = day_batch(load_flights(release), load_weather(release), load_planes(release), day)
    predictions = predict(production.artifact("delay_classifier"), batch)
    return predictions, compare(predictions, batch, day)
