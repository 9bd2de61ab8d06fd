from collections.abc import Callable

import pytest

from tests.helpers.array_pairs import ArrayPairs, make_pairs


@pytest.fixture
def pairs() -> Callable[..., ArrayPairs]:
    return make_pairs
