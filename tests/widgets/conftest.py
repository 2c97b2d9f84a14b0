"""A browser for the tests of the widgets."""

from __future__ import annotations

import pytest
from bare_page import browser


@pytest.fixture(scope="module")
def chrome():
    with browser() as chrome:
        yield chrome
