"""Published networks whose weights can be taken over, one file for each.

The name of the file is the name of the generator in `tfdeblur.models` that takes the weights. A
module defines:

* `REPOSITORY`: where the authors' code stands, which gives the weights their names;
* `MARKS`: names by which a file is recognized, all of which it must hold;
* `CHOICES`: options of the generator that the weights do not tell, so that a person may;
* `options(arrays)`: the options that the weights do tell;
* `layout(options)`: a `Layout`, where each array belongs.
"""

from tfdeblur.registry import Registry

REGISTRY = Registry(__name__, "architecture")
