"""A trained run without the training: what evaluation, export and restoration start from."""

import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tfdeblur import models
from tfdeblur.checkpoints.store import CheckpointStore
from tfdeblur.io import files
from tfdeblur.models.generator import Generator


@contextlib.contextmanager
def _as_they_are() -> Iterator[None]:
    yield


@pytest.fixture
def write_run(tmp_path: pathlib.Path) -> Callable[[str], Generator]:
    """Writes a work directory with a best checkpoint; returns the generator in it."""

    def write(workdir: str) -> Generator:
        keras.utils.set_random_seed(3)
        generator = models.create("unet16", {"width": 4})
        for variable in generator.network.trainable_variables:
            if variable.name == "bias":  # untrained ones are zero, and black is then a fixed point
                variable.assign(np.full(variable.shape, 0.02, np.float32))
        state = SimpleNamespace(
            generator=generator,
            images_seen=4096,
            epoch_images=1024,
            average=[],
            averaged=_as_they_are,
            critic_arrays=dict,
        )
        local = tempfile.mkdtemp(dir=tmp_path)
        CheckpointStore(local, keep=1).save_best(state, {"psnr_db": 12.5})
        for name in files.walk_files(local):
            target = files.join(workdir, name)
            files.make_dirs(files.parent(target))
            files.write_bytes(target, files.read_bytes(files.join(local, name)))
        return generator

    return write


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> str:
    """A folder in memory, another one for each test."""
    return f"ram://train-{tmp_path.name}"
