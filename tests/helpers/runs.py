"""Configurations and results of small runs for tests."""

import csv
import io

from tfdeblur import config
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.io import files


def settings(folder, workdir="run", **sections):
    tree = {
        "workdir": files.join(folder, workdir),
        "model": {"name": "unet16", "width": 4},
        "objective": {"name": "content", "losses": {"mae": 1.0}},
        "data": {"paths": [files.join(folder, "data")]},
        "optimizer": {"learning_rate": 0.01},
        "training": {"duration": "4 epochs", "global_batch": 8},
        "output": {"validate_every": "2 epochs", "save_every": "1 epochs", "log_every": "1 steps"},
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section} if isinstance(section, dict) else section
    return config.resolve(tree)


def weights(workdir, which="last"):
    generator, _ = load_generator(workdir, which)
    return generator.network.get_weights()


def history(workdir):
    return list(csv.DictReader(io.StringIO(files.read_text(files.join(workdir, "history.csv")))))


def traces(workdir):
    """Returns the paths of a run's profiles."""
    return [name for name in files.walk_files(workdir) if name.endswith(".xplane.pb")]
