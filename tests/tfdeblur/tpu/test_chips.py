"""Published figures of TPU generations are plausible, and slices are found by name."""

import math

import pytest

from tfdeblur.errors import ConfigError
from tfdeblur.tpu.chips import CHIPS, GIB, parse


def test_figures_are_in_operations_and_bytes():
    for chip in CHIPS.values():
        # Operations per byte at which compute and memory are balanced: tens to hundreds.
        assert 20 < chip.peak / chip.bandwidth < 1000
        assert chip.bandwidth / 10 < chip.links < chip.bandwidth
        assert 7 * GIB < chip.usable < 96 * GIB
        for chips, sides in chip.shapes.items():
            assert math.prod(map(int, sides.split("x"))) == chips
    assert CHIPS["v5e"].usable == 15.75 * GIB


@pytest.mark.parametrize(
    ("text", "name", "topology", "devices"),
    [
        ("v5e-1", "v5e-1", "v5e:1x1", 1),
        ("v5e-8", "v5e-8", "v5e:2x4", 8),
        ("v5litepod-16", "v5e-16", "v5e:4x4", 16),
        ("v5e:2x4", "v5e-8", "v5e:2x4", 8),
        ("v5e:2x2x1", "v5e:2x2x1", "v5e:2x2x1", 4),
        ("v6e-8", "v6e-8", "v6e:2x4", 8),
        # Names of these count cores, of which a chip has two; the first two have one device each.
        ("v4-8", "v4-8", "v4:2x2x1", 4),
        ("v5p-16", "v5p-16", "v5p:2x2x2", 8),
        ("v3-8", "v3-8", "v3:2x2", 8),
        ("v3:4x4", "v3-32", "v3:4x4", 32),
    ],
)
def test_parse_accepts_names_and_topologies(text, name, topology, devices):
    found = parse(text)
    assert (found.name, found.topology, found.devices) == (name, topology, devices)
    assert topology.startswith(found.chip.name)


@pytest.mark.parametrize("text", ["v5e", "v9-8", "v5e-3", "v4-9", "v4-4", "8", "v5e:8", ""])
def test_parse_of_no_slice_raises_config_error(text):
    with pytest.raises(ConfigError, match="--tpu"):
        parse(text)
