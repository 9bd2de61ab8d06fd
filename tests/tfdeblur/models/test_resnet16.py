import keras
import numpy as np

from tfdeblur import models


def test_parameter_count_equals_documentation():
    assert models.create("resnet16").network.count_params() == 7_366_034


def test_main_path_has_sixteen_convolutions():
    network = models.create("resnet16").network
    main = [
        layer
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose)
        and "shortcut" not in layer.name
    ]
    # Four encoder and three decoder blocks, two convolutions each, and the last one.
    assert len(main) == 15
    shortcuts = [layer for layer in network.layers if layer.name.endswith("_shortcut")]
    assert len(shortcuts) == 8
    assert all(layer.kernel_size == (1, 1) for layer in shortcuts)


def test_blocks_have_channels_and_strides_of_the_paper():
    network = models.create("resnet16").network
    shapes = [network.get_layer(f"encoder{i}_conv2").output.shape[-1] for i in (1, 2, 3, 4)]
    assert shapes == [64, 128, 256, 512]
    assert [network.get_layer(f"encoder{i}_conv1").strides for i in (1, 2, 3, 4)] == [
        (1, 1),
        (2, 2),
        (2, 2),
        (2, 2),
    ]
    for i, channels in ((1, 256), (2, 128), (3, 64)):
        assert network.get_layer(f"decoder{i}_conv1").strides == (1, 1)
        assert network.get_layer(f"decoder{i}_conv2").strides == (2, 2)
        assert network.get_layer(f"decoder{i}_conv2").filters == channels


def test_block_output_is_sum_without_activation():
    network = models.create("resnet16", {"width": 2}).network
    for i in (1, 2, 3):
        consumers = [
            node.operation.name for node in network.get_layer(f"encoder{i}_add")._outbound_nodes
        ]
        assert sorted(consumers) == [f"encoder{i + 1}_conv1", f"encoder{i + 1}_shortcut"]


def test_output_is_linear():
    network = models.create("resnet16", {"width": 2}).network
    images = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    # Only the shortcut can be negative, and no activation follows it.
    network.get_layer("last_shortcut").bias.assign([-5.0, 0.0, 5.0])
    means = np.mean(network(images), axis=(0, 1, 2))
    assert means[0] < -2
    assert means[2] > 2


def test_width_and_synchronized_options_reach_the_layers():
    network = models.create("resnet16", {"width": 4, "synchronized": True}).network
    assert network.get_layer("encoder4_conv2").filters == 32
    norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 15
    assert all(norm.synchronized for norm in norms)
