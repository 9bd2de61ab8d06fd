"""Reads the training state of checkpoints of format 1, written with `tf.train.Checkpoint`.

Its arrays are named by the attributes that lead to a variable, such as
``generator_optimizer/_variables/3``, which are followed here from the same objects.
"""

from collections.abc import Mapping
from typing import Any

import keras

from tfdeblur.checkpoints.arrays import Arrays
from tfdeblur.errors import DataError

_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def read_format_1(
    path: str, roots: Mapping[str, Any], names: Mapping[str, keras.Variable]
) -> Arrays:
    """Reads the arrays under their present names.

    Args:
        path: The `tf.train.Checkpoint`, without the suffixes of its files.
        roots: The objects that were saved, by name. Arrays of other objects are skipped.
        names: The variables of these objects, by their present names.

    Returns:
        The arrays. One whose variable does not exist keeps its old name.

    Raises:
        DataError: The checkpoint cannot be read.
    """
    import tensorflow as tf

    known = {id(variable): name for name, variable in names.items()}
    arrays = {}
    try:
        # Unlike `tf.train.load_checkpoint`, it reads from every file system.
        reader = tf.compat.v1.train.NewCheckpointReader(path)
        for key in reader.get_variable_to_shape_map():
            name = key.removesuffix(_SUFFIX)
            root, *attributes = name.split("/")
            if root in roots:
                variable = _follow(roots[root], attributes)
                arrays[known.get(id(variable), name)] = reader.get_tensor(key)
    except (tf.errors.OpError, ValueError) as error:
        raise DataError(f"The training state {path} cannot be read: {error}") from error
    return arrays


def _follow(item: Any, attributes: list[str]) -> Any:
    """Follows attributes, keys and positions; returns None if one does not exist."""
    for part in attributes:
        try:
            if isinstance(item, Mapping):
                item = item[part]
            elif part.isdigit():
                item = item[int(part)]
            else:
                item = getattr(item, part)
        except (AttributeError, IndexError, KeyError):
            return None
    return item
