"""Writes ``checkpoint_format_1.zip``: a checkpoint of format 1, with arrays known by their names.

Format 1 stored the training state as a `tf.train.Checkpoint` and the generator in Keras's HDF5
format. Only versions of tfdeblur up to commit 4eac94c write it; run this there:

    python -m tests.golden.make_checkpoint_format_1 checkpoint_format_1.zip
"""

import pathlib
import sys
import tempfile
import zipfile
import zlib

import numpy as np

from tfdeblur import config, models
from tfdeblur.models import critics

# Batch norm, dropout, a critic, Adam and averages: everything that a checkpoint can hold.
SETTINGS = {
    "workdir": "run",
    "model": {"name": "deblurgan", "blocks": 1, "width": 2, "dropout": 0.5},
    "objective": {
        "name": "wgan_gp",
        "critic_updates": 2,
        "losses": {"mse": 1.0},
        "adversarial_weight": 0.01,
    },
    "critic": {"name": "patch_gan", "layers": 1, "width": 2},
    "optimizer": {"learning_rate": 0.01},
    "training": {"global_batch": 4, "duration": "24 images", "ema_decay": 0.9},
}
IMAGES = 12


def known_array(name: str, like: np.ndarray) -> np.ndarray:
    """Returns small positive numbers that depend on an array's name and shape alone."""
    number = zlib.crc32(name.encode()) % 97
    if np.issubdtype(like.dtype, np.integer):
        return np.full(like.shape, number, like.dtype)
    ramp = np.linspace(0, 1, like.size, dtype=np.float32).reshape(like.shape)
    return ((ramp + number + 1) / 1000).astype(like.dtype)


def main(target: str) -> None:
    """Builds the networks, fills them and zips the checkpoint."""
    from tfdeblur.checkpoints.store import CheckpointStore
    from tfdeblur.training.state import TrainingState

    run_config = config.resolve(SETTINGS)
    generator = models.create(run_config.model.name, run_config.model.options)
    critic = critics.create(run_config.critic.name, run_config.critic.options)
    state = TrainingState(
        run_config, generator, {"critic": critic}, total_images=24, epoch_images=16
    )
    state.images.assign(IMAGES)
    for player in state.players.values():
        for variable in player.network.variables:
            variable.assign(known_array(f"{player.name}/{variable.path}", variable.numpy()))
        for variable in player.optimizer.variables:
            name = f"{player.name}_optimizer/{variable.path}"
            variable.assign(known_array(name, variable.numpy()))
    trainable = generator.network.trainable_variables
    for average, variable in zip(state.average, trainable, strict=True):
        average.assign(known_array(f"average/{variable.path}", average.numpy()))
    with tempfile.TemporaryDirectory() as workdir:
        CheckpointStore(workdir, keep=1).save(state, {"psnr_db": 12.5})
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(pathlib.Path(workdir).rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(workdir))


if __name__ == "__main__":
    main(sys.argv[1])
