"""Sources of pictures: one module is one data set, and its file name is its name.

A source defines `Options`, a frozen keyword-only dataclass whose annotated fields become the
flags of `python -m data_prep.build NAME`, and `build(options) -> Source`. Nothing else has to be
edited for a new one to be found. `source.py` holds what they share.
"""

from tfdeblur.registry import Registry

REGISTRY = Registry("data_prep.sources", "source", ("source",))
