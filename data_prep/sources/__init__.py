"""Sources: one module per data set, named like its file.

A source defines `Options`, a frozen keyword-only dataclass whose annotated fields become the flags
of `python -m data_prep.build NAME`, and `build(options) -> Source`. It is discovered
automatically. `source.py` is the base class.
"""

from tfdeblur.registry import Registry

REGISTRY = Registry("data_prep.sources", "source", ("source",))
