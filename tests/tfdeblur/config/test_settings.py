"""Trees of plain values: YAML of other people."""

import pytest

from tfdeblur.config import settings
from tfdeblur.errors import ConfigError

BOMB = "a0: &a0 [1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "{a: " * 200_000,
        "a: 2020-99-99",
        "a: !!int ''",
        "a: !!float x",
        "a: !!binary x",
        f"a: {'9' * 5000}",
        "a: !!python/object/apply:os.system [ls]",
        "a: &a [*a]",
        "? [1]\n: 2",
        "- 1",
        "a: b: c",
        "\0",
        BOMB,
    ],
)
def test_damaged_yaml_raises_config_error_with_its_origin(text):
    with pytest.raises(ConfigError, match=r"^here"):
        settings.parse_yaml(text, "here")


def test_yaml_with_a_few_aliases_is_read():
    assert settings.parse_yaml("a: &a [1]\nb: [*a, *a]", "here") == {"a": [1], "b": [[1], [1]]}
