import re

import numpy as np
import pytest

from tfdeblur import models
from tfdeblur.errors import DataError
from tfdeblur.porting import mapping
from tfdeblur.porting.architectures import REGISTRY
from tfdeblur.porting.mapping import Layout, Place

SMALL = {
    "deblurgan": {"blocks": 2, "width": 4, "norm": "batch", "convolutions": 1},
    "deepdeblur": {"scales": 2, "blocks": 1, "width": 4},
    "fftformer": {"width": 4, "blocks": (2, 1), "refinement": 2},
    "fpn_inception": {
        "width": 4,
        "norm": "batch",
        "backbone_width": 2,
        "backbone_blocks": (2, 1),
    },
    "fpn_mobilenet": {"width": 4, "norm": "batch", "backbone": "pytorch"},
    "mimo_unet": {"blocks": 1, "width": 4},
    "nafnet": {"width": 2, "encoder": (1, 0), "middle": 2, "decoder": (0, 1)},
    "restormer": {"width": 4, "blocks": (1, 2, 1), "heads": (2, 1, 4), "refinement": 2},
}


def theirs(generator, layout):
    """Returns arrays with the shapes of PyTorch, each filled with its index."""
    weights = [(layer, weight) for layer in generator.network.layers for weight in layer.weights]
    shapes = {f"{layer.name}/{weight.name}": tuple(weight.shape) for layer, weight in weights}
    return {
        place.theirs: np.full(place.permutation.shape(shapes[place.ours]), i, np.float32)
        for i, place in enumerate(layout.places)
    }


@pytest.fixture(scope="module")
def small():
    generator = models.create("nafnet", SMALL["nafnet"])
    layout = REGISTRY.load("nafnet").layout(generator.options)
    return generator, layout, theirs(generator, layout)


@pytest.mark.parametrize("name", REGISTRY.names())
def test_layout_is_one_to_one_and_options_follow_from_arrays(name):
    module = REGISTRY.load(name)
    generator = models.create(name, SMALL[name])
    layout = module.layout(generator.options)
    assert len({place.theirs for place in layout.places}) == len(layout.places)
    arrays = theirs(generator, layout)
    assert all(mark in arrays for mark in module.MARKS)
    inferred = module.options(arrays)
    same = models.create(name, inferred)
    for option, value in SMALL[name].items():
        assert same.options[option] == value, option
    assert not set(inferred) & set(module.CHOICES)
    again = module.layout(same.options)
    assert mapping.fill(same, again, arrays) == {}
    numbers = {float(np.max(w)) for x in same.network.layers for w in x.weights}
    assert len(numbers) == len(layout.places)  # each weight has another array


def test_fill_lists_all_errors_and_sets_nothing(small):
    generator, layout, arrays = small
    wrong = dict(arrays)
    del wrong["intro.bias"]
    wrong["intro.bais"] = arrays["intro.bias"]
    wrong["ending.weight"] = arrays["ending.weight"][:, :1]
    wrong["ending.bias"] = np.array([1, 1e39, 3])
    wrong["downs.0.bias"] = np.zeros(4, np.int64)
    before = [weight.numpy() for weight in generator.network.weights]
    with pytest.raises(DataError, match=r"nafnet with width 2") as caught:
        mapping.fill(generator, layout, wrong)
    message = str(caught.value)
    for part in (
        r"intro\.bias is missing.*'intro\.bais'",
        r"intro\.bais is unknown.*'intro\.bias'",
        r"ending\.weight .*\[3, 1, 3, 3\].*\[3, 2, 3, 3\]",
        r"ending\.bias .*not finite",
        r"downs\.0\.bias .*int64",
    ):
        assert re.search(part, message), part
    for weight, value in zip(generator.network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)  # all or none


def test_fill_shortens_long_lists(small):
    generator, layout, _ = small
    with pytest.raises(DataError, match=r"\(and \d+ more like this\)") as caught:
        mapping.fill(generator, layout, {})
    assert str(caught.value).count("\n") == 6


def test_layout_that_is_not_one_to_one_raises_value_error(small):
    generator, layout, arrays = small
    for places in (layout.places[1:], [*layout.places, layout.places[0]]):
        with pytest.raises(ValueError, match="one to one"):
            mapping.fill(generator, Layout(places), arrays)


def test_unused_arrays_are_counted_by_reason(small):
    generator, layout, arrays = small
    counters = Layout(layout.places, {r".*\.batches": "counters"})
    extra = {**arrays, "a.batches": np.int64(1), "b.batches": np.int64(1)}
    assert mapping.fill(generator, counters, extra) == {"counters": 2}


def test_fill_converts_float16_to_float32(small):
    generator, layout, arrays = small
    mapping.fill(generator, layout, {k: v.astype(np.float16) for k, v in arrays.items()})
    kernel = generator.network.get_layer("intro").kernel
    assert kernel.dtype == "float32"
    np.testing.assert_array_equal(kernel, 0)


def test_permutations_reorder_axes():
    def permuted(places: list[Place], values):
        return places[0].permutation.array(values)

    rng = np.random.default_rng(0)
    kernel = rng.random((5, 2, 3, 4))  # [out, in, height, width]
    np.testing.assert_array_equal(
        permuted(mapping.convolution("a", "a"), kernel)[1, 2, 0, 4], kernel[4, 0, 1, 2]
    )
    single = rng.random((5, 1, 3, 4))
    ours = permuted(mapping.depthwise("a", "a"), single)
    assert ours.shape == (3, 4, 5, 1)
    assert ours[1, 2, 3, 0] == single[3, 0, 1, 2]
    # Channel 4 c + k of PyTorch is our k C + c.
    wide = rng.random((8, 3, 1, 1))
    shuffled = permuted(mapping.before_shuffle("a", "a"), wide)
    for channel in range(2):
        for pixel in range(4):
            np.testing.assert_array_equal(
                shuffled[0, 0, :, 2 * pixel + channel], wide[4 * channel + pixel, :, 0, 0]
            )
    assert permuted(mapping.factor("a", "a"), np.zeros((1, 6, 1, 1))).shape == (6,)
    for places, values in (
        (mapping.convolution("a", "a"), kernel),
        (mapping.depthwise("a", "a"), single),
        (mapping.before_shuffle("a", "a"), wide),
        (mapping.factor("a", "a"), np.zeros((1, 6, 1, 1))),
    ):
        assert places[0].permutation.shape(permuted(places, values).shape) == values.shape


def test_count_and_array_with_missing_names_raise_data_error():
    arrays = {f"part.{i}.w": np.zeros((3, 1, 1, 1)) for i in (4, 5, 6)}
    assert mapping.count(arrays, r"part\.(\d+)\.", 4) == 3
    assert mapping.count(arrays, r"other\.(\d+)\.") == 0
    with pytest.raises(DataError, match=r"part\.0\."):
        mapping.count(arrays, r"part\.(\d+)\.")
    assert mapping.channels(arrays, "part.4.w") == 3
    with pytest.raises(DataError, match=r"part\.7\.w.*'part\.\d\.w'"):
        mapping.channels(arrays, "part.7.w")
    with pytest.raises(DataError, match="four axes"):
        mapping.channels({"b": np.zeros(3)}, "b")


def test_deblurgan_with_two_convolutions_infers_the_dropout():
    module = REGISTRY.load("deblurgan")
    for dropout in (0.0, 0.5):
        chosen = {"blocks": 1, "width": 4, "dropout": dropout}
        generator = models.create("deblurgan", chosen)
        arrays = theirs(generator, module.layout(generator.options))
        inferred = module.options(arrays)
        assert inferred["dropout"] == dropout
        assert "convolutions" not in inferred
