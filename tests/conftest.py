"""Fixtures of several test files."""

import pytest
from exporters.structured3d import solids_of
from toys import busy_room, walk_round


@pytest.fixture(scope="session")
def solids():
    return solids_of(busy_room("x"))


@pytest.fixture(scope="session")
def poses():
    return list(walk_round(8))
