"""Published networks whose weights can be converted.

One file is one network, and its name is that of the generator in `tfdeblur.models`. A module
defines:

* `REPOSITORY`: the authors' code, which defines the names of the arrays;
* `MARKS`: names that all files of this network contain, by which it is recognized;
* `CHOICES`: options of the generator that do not follow from the weights and can be set;
* `options(arrays)`: the options that follow from the weights;
* `layout(options)`: a `Layout` with the place of each array;
* `LOADER`, if there is one: the package whose `spandrel.ModelLoader` reads its weights in PyTorch,
  and `LOADER_SCALES`, the number of scales that it requires, or None.
"""

from tfdeblur.registry import Registry

REGISTRY = Registry(__name__, "architecture", ("feature_pyramid",))
