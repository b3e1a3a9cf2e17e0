"""Outside a pipeline a step is its function: these tests call them so, on a few rows."""

# ruff: noqa: D103 - the names of tests are their sentences

import datetime

import numpy as np
import pandas as pd
import pytest

from drystone.testing import run_step
from flights import data, pipelines
from flights.times import minute_of_day, minutes_between

HOUR = pd.Timestamp("2013-01-01T15:00Z")


def flight(**changes):
    when = {"year": 2013, "month": 1, "day": 1, "time_hour": HOUR, "sched_dep_time": 1015, "sched_arr_time": 1145}
    what = {"carrier": "UA", "flight": 1, "tailnum": "N1", "origin": "EWR", "dest": "IAH", "distance": 1400}
    return {**when, **what, "arr_delay": 20.0, **changes}


def weather(hour, **changes):
    return {"origin": "EWR", "time_hour": hour, **dict.fromkeys(data.WEATHER, 1.0), **changes}


PLANES = pd.DataFrame([{"tailnum": "N1", "year": 2003.0, "seats": 182}])


def rows(count=400):
    """Flights on which the temperature decides who is late, half of them held out."""
    chance = np.random.default_rng(0)
    frame = pd.DataFrame({name: chance.normal(size=count) for name in data.FEATURES if name not in data.CATEGORIES})
    frame = frame.assign(**{name: pd.Categorical(chance.choice(["A", "B"], count)) for name in data.CATEGORIES})
    return frame.assign(arr_delay=np.where(frame["temp"] > 0, 30.0, -5.0), held_out=np.arange(count) >= count // 2)


def test_times_are_read_as_the_airlines_write_them():
    assert minute_of_day(pd.Series([5, 1345])).tolist() == [5, 825]
    assert minutes_between(pd.Series([2330]), pd.Series([30])).tolist() == [60]


def test_clean_keeps_the_flights_that_arrived_once():
    flights = pd.DataFrame([flight(), flight(), flight(flight=2, arr_delay=None)])
    assert pipelines.clean(flights)["flight"].tolist() == [1]


def test_clean_notes_how_many_flights_arrived():
    flights = pd.DataFrame([flight(), flight(flight=2, arr_delay=None)])
    made = run_step(pipelines.clean, flights)
    assert made.metadata == {"flights": 2, "arrived": 1}
    assert made.output["flight"].tolist() == [1]


def test_join_takes_the_weather_of_the_hour_before_departure():
    observed = pd.DataFrame([weather(HOUR - pd.Timedelta(hours=1), temp=30.0), weather(HOUR, temp=99.0)])
    joined = pipelines.join(pd.DataFrame([flight()]), observed, PLANES)
    assert joined["temp"].tolist() == [30.0]
    assert joined["plane_age"].tolist() == [10.0]
    assert joined["scheduled_minutes"].tolist() == [90]


def test_join_keeps_flights_without_weather_or_plane():
    observed = pd.DataFrame([weather(HOUR - pd.Timedelta(days=3))])
    joined = pipelines.join(pd.DataFrame([flight(tailnum=None)]), observed, PLANES)
    assert joined[["temp", "seats"]].isna().all(axis=None)


def test_no_feature_is_known_only_after_departure():
    outcomes = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"}
    assert not outcomes & set(data.FEATURES)
    assert set(data.SCHEDULE).isdisjoint(outcomes)
    observed = pd.DataFrame([weather(HOUR - pd.Timedelta(hours=1))])
    late, early = (
        pipelines.join(pd.DataFrame([flight(arr_delay=delay)]), observed, PLANES)[data.FEATURES]
        for delay in (300.0, -30.0)
    )
    pd.testing.assert_frame_equal(late, early)


def test_split_divides_by_time():
    flights = pd.DataFrame([flight(month=9, day=30), flight(month=10, day=1)])
    joined = pipelines.join(flights, pd.DataFrame([weather(HOUR)]), PLANES)
    assert pipelines.split(joined, datetime.date(2013, 10, 1))["held_out"].tolist() == [False, True]


def test_training_learns_and_is_judged_on_rows_it_has_not_seen():
    classifier = pipelines.train(rows(), leaves=4, rounds=20, learning_rate=0.2)
    metrics = pipelines.evaluate(classifier, rows())
    assert metrics["auc"] > 0.95
    assert set(metrics) == {"auc", "log_loss", "accuracy", "base_rate"}


def test_training_never_sees_the_held_out_rows():
    spoilt = rows()
    spoilt.loc[spoilt["held_out"], "arr_delay"] = 30.0
    honest, other = (pipelines.train(frame, 4, 20, 0.2) for frame in (rows(), spoilt))
    sample = rows()[data.FEATURES]
    np.testing.assert_array_equal(honest.predict_proba(sample), other.predict_proba(sample))


def test_predictions_are_sorted_by_risk_and_hold_no_outcome():
    flights = pd.DataFrame([flight(flight=number, sched_dep_time=number * 100) for number in range(6, 20)])
    batch = pipelines.day_batch(flights, pd.DataFrame([weather(HOUR)]), PLANES, datetime.date(2013, 1, 1))
    predictions = pipelines.predict(pipelines.train(rows(), 4, 20, 0.2), batch)
    assert predictions["risk"].is_monotonic_decreasing
    assert list(predictions) == [*data.SCHEDULE, "risk"]


def test_compare_sets_predictions_beside_what_came():
    batch = pd.DataFrame(
        [flight(flight=1, arr_delay=60.0), flight(flight=2, arr_delay=0.0), flight(flight=3, arr_delay=None)]
    )
    predictions = batch[data.SCHEDULE].assign(risk=[0.9, 0.2, 0.4])
    report = pipelines.compare(predictions, batch, datetime.date(2013, 1, 1))
    assert report == {"flights": 3, "foreseen_late_share": pytest.approx(0.5), "late_share": 0.5, "auc": 1.0}


def test_a_day_without_flights_says_so():
    with pytest.raises(ValueError, match=r"^No flight is scheduled for 2014-05-01\. The data covers 2013\.$"):
        pipelines.day_batch(pd.DataFrame([flight()]), pd.DataFrame([weather(HOUR)]), PLANES, datetime.date(2014, 5, 1))
