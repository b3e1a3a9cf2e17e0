"""What becomes of tests whose service is not on this machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skip the test, or fail it where `DRYSTONE_REQUIRE_SERVICES` says that nothing may be missing.

    Args:
        reason: What is missing and how to get it.
    """
    if os.environ.get("DRYSTONE_REQUIRE_SERVICES"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
