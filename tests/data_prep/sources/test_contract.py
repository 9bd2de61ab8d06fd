"""Contract tests for every registered source."""

import dataclasses

import pytest

from data_prep import build
from data_prep.frames import Job
from data_prep.plan import Settings
from data_prep.sources import REGISTRY
from data_prep.testing import check_options
from tfdeblur.config import settings

EXAMPLES = {str: "x", int: 1, float: 0.5}


@pytest.fixture(params=REGISTRY.names())
def name(request):
    return request.param


def test_registry_lists_all_sources():
    pairs = {"gopro", "hide", "pairs", "realblur", "reds", "rsblur"}
    assert pairs | {"cifar10", "frames", "scenes", "sharp"} <= set(REGISTRY.names())


def test_source_options_are_frozen_documented_and_distinct(name):
    check_options(name)


def make_options(name):
    options = REGISTRY.options(name)
    needed = {
        field.name: EXAMPLES[field.annotation]
        for field in settings.fields_of(options)
        if field.required
    }
    return settings.validate(options, needed)


def test_source_without_files_describes_blur(name):
    options = make_options(name)
    source = Job(name, options, Settings(), "").build_source()
    description = source.describe_blur()
    assert isinstance(description["kind"], str)
    if source.blur is not None:
        assert description == source.blur.describe()


def test_source_module_has_summary(name):
    first = REGISTRY.load(name).__doc__.splitlines()[0]
    assert first.endswith((".", ";")) and len(first) <= 100


def test_config_class_has_all_fields(name):
    config_class = build.config_class(name)
    names = {field.name for field in dataclasses.fields(config_class)}
    assert {field.name for field in dataclasses.fields(REGISTRY.options(name))} <= names
    assert {"out", "tile", "workers"} <= names
    assert config_class.dataset == name
