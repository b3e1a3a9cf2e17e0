"""Times as the airlines write them."""

from __future__ import annotations

import pandas as pd

DAY = 24 * 60


def minute_of_day(hhmm: pd.Series) -> pd.Series:
    """Minutes since midnight of times written as 1345 for a quarter to two."""
    return hhmm // 100 * 60 + hhmm % 100


def minutes_between(start: pd.Series, end: pd.Series) -> pd.Series:
    """Minutes from one time of day to the next occurrence of another."""
    return (minute_of_day(end) - minute_of_day(start)) % DAY
