from collections.abc import Callable

import pytest

from tests.helpers.numbered_data import write_dataset


@pytest.fixture
def dataset() -> Callable[..., str]:
    """Returns the function that writes a data set and returns its folder."""
    return write_dataset
