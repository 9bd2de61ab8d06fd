"""Command: the tables and figures of papers, from runs and their evaluations.

::

    python -m tfdeblur.paper table runs/unet16 runs/rednet30 --data data/cifar10
    python -m tfdeblur.paper --help

Each kind is a module with a configuration and a `run(config)` for notebooks.
"""
