"""Presets: trained weights that load by name, each a folder with its facts and its model card.

A folder in this package is a preset of that name; see `tfdeblur.presets.preset` for its files.
``python -m tfdeblur.presets`` lists them. Importing this package imports neither TensorFlow nor
Keras.
"""

from tfdeblur.presets.catalog import DEFAULT, find, load, names
from tfdeblur.presets.preset import Preset

__all__ = ["DEFAULT", "Preset", "find", "load", "names"]
