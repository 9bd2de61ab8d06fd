"""The check of the contract that sources must fulfill, such as those of plug-ins."""

import dataclasses
from typing import Any

import numpy as np

from data_prep.build import BuildConfig
from data_prep.frames import Job
from data_prep.plan import Settings
from data_prep.sources import REGISTRY
from tfdeblur.config import settings

# A source may declare the seed of the build; other shared names would be ambiguous.
_SHARED = {"seed"}


def check_options(name: str) -> None:
    """Checks that the options are frozen, documented, and distinct from those of every build."""
    options = REGISTRY.options(name)
    parameters = options.__dataclass_params__  # that of every dataclass
    assert parameters.frozen, f"{options} is not frozen"
    positional = [field.name for field in dataclasses.fields(options) if not field.kw_only]
    assert not positional, f"fields that are not keyword-only: {', '.join(positional)}"
    bare = [field.name for field in settings.fields_of(options) if not field.description]
    assert not bare, f"fields without a docstring: {', '.join(bare)}"
    own = {field.name for field in dataclasses.fields(options)}
    common = {field.name for field in dataclasses.fields(BuildConfig)}
    taken = sorted(own & common - _SHARED)
    assert not taken, f"fields with the name of an option of every build: {', '.join(taken)}"


def check_source(name: str, **options: Any) -> None:
    """Checks a source on real files: its options, blur, listing, and first frame of each split.

    Args:
        name: Its name in the registry.
        **options: Options that point it to files.

    Raises:
        AssertionError: The message says what is wrong.
        UserError: An option or a file is invalid.
    """
    check_options(name)
    source = Job(name, settings.validate(REGISTRY.options(name), options), Settings(), "")
    built = source.build_source()
    assert isinstance(built.describe_blur()["kind"], str)
    listing = built.listing()
    scenes = [{item.scene for item in items} for items in listing.splits.values()]
    assert sum(map(len, scenes)) == len(set().union(*scenes)), "a scene is in two splits"
    assert listing == built.listing(), "two listings differ"
    for split, items in listing.splits.items():
        assert len({item.key for item in items}) == len(items), f"{split} lists a frame twice"
        for item in items[:1]:
            halves = built.load(item)
            for half in (half for half in halves if half is not None):
                expected = (item.height, item.width, 3)
                assert half.shape == expected, f"{item.key} is {half.shape}, not {expected}"
                assert half.dtype == np.uint8, f"{item.key} is {half.dtype}, not uint8"
