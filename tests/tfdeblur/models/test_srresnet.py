import keras
import numpy as np

from tfdeblur import models


def test_parameter_count_equals_documentation():
    conv, norm, prelu = 577 * 64, 256, 64
    first, last = 9 * 9 * 3 * 64 + 64, 9 * 9 * 64 * 3 + 3
    expected = first + prelu + 16 * (2 * (conv + norm) + prelu) + conv + norm + last
    assert expected == 1_259_331
    assert models.create("srresnet").network.count_params() == expected


def test_structure_equals_that_of_the_paper():
    network = models.create("srresnet", {"blocks": 2, "width": 4}).network
    joined = [t._keras_history.operation.name for t in network.get_layer("join_add").input]
    assert joined == ["stem_prelu", "join_norm"]
    assert network.get_layer("restored").input._keras_history.operation.name == "join_add"
    slopes = [x for x in network.layers if isinstance(x, keras.layers.PReLU)]
    assert len(slopes) == 3
    assert all(x.alpha.shape == (1, 1, 4) for x in slopes)
    np.testing.assert_array_equal(slopes[0].alpha, np.full((1, 1, 4), 0.25, np.float32))
    assert all(x.strides == (1, 1) for x in network.layers if isinstance(x, keras.layers.Conv2D))


def test_output_is_bounded_by_tanh():
    generator = models.create("srresnet", {"blocks": 1, "width": 4})
    assert generator.value_range == "signed"
    generator.network.get_layer("restored").bias.assign([50.0, 0.0, -50.0])
    restored = generator.network(np.zeros((1, 5, 7, 3), np.float32))
    np.testing.assert_allclose(restored[..., 0], 1)
    np.testing.assert_allclose(restored[..., 2], -1)


def test_synchronized_option_reaches_the_layers():
    network = models.create("srresnet", {"blocks": 1, "width": 4, "synchronized": True}).network
    norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 3
    assert all(norm.synchronized for norm in norms)
