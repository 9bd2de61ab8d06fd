"""The files of a preset: facts, weights and card."""

import dataclasses

import numpy as np
import pytest
import yaml

from tfdeblur import presets
from tfdeblur.errors import DataError
from tfdeblur.presets import card, preset
from tfdeblur.presets.__main__ import main

KNOWN = presets.load("unet16-cifar10")


def put(folder, **changes):
    """Writes facts to a folder, of which some are changed or, with None, left out."""
    tree = yaml.safe_load(preset.to_yaml(KNOWN))
    for key, value in changes.items():
        if value is None:
            del tree[key]
        else:
            tree[key] = value
    (folder / preset.FACTS).write_text(yaml.safe_dump(tree))
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"format": 2}, "format"),
        ({"weights": None}, "weights"),
        ({"weights": {"sha256": "0"}}, "weights.sha256"),
        ({"licence": "MIT"}, "licence"),
        ({"name": "../x"}, "name"),
        ({"model": {"width": 3}}, "model.name"),
        ({"training": {"images": -1}}, "training.images"),
        ({"training": {"images": 1, "hours": 0}}, "training.hours"),
    ],
)
def test_invalid_facts_raise_data_error_with_file_and_key(changes, key, tmp_path):
    folder = put(tmp_path, **changes)
    with pytest.raises(DataError, match=f"(?s){folder}/{preset.FACTS}.*{key}"):
        preset.read(folder)


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "format: 1"])
def test_damaged_facts_raise_data_error_with_the_file(text, tmp_path):
    (tmp_path / preset.FACTS).write_text(text)
    with pytest.raises(DataError, match=f"{tmp_path}/{preset.FACTS}"):
        preset.read(str(tmp_path))


def test_missing_weights_raise_data_error_with_the_file(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path}/{preset.WEIGHTS}"):
        preset.verify(put(tmp_path))


def test_probe_image_is_in_range_and_has_colors():
    image = preset.probe_image()
    assert image.shape == (1, 32, 32, 3) and image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1 and image.std(axis=-1).min() > 0
    assert len(preset.probe_of(image)) == 16


def test_card_says_how_far_the_training_came():
    whole = dataclasses.replace(KNOWN.training, images=KNOWN.training.of)
    part = dataclasses.replace(KNOWN.training, images=1000)
    assert "1,000 of " in card.card(dataclasses.replace(KNOWN, training=part))
    assert " of 5," not in card.card(dataclasses.replace(KNOWN, training=whole))


def test_card_begins_with_metadata_of_hubs():
    _, metadata, text = card.card(KNOWN).split("---\n", 2)
    assert yaml.safe_load(metadata)["license"] == "apache-2.0"
    assert text.startswith(card.CARD_BEGINS)


def test_command_prints_every_preset_with_its_scores(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    for name in presets.names():
        assert name in printed
    assert f"{KNOWN.scores[0].restored['psnr_db']:.2f}" in printed
