"""Compiles training steps for TPUs that are not there; `tfdeblur.preflight` is the command.

TensorFlow and the TPU compiler never meet in one process: `lowering` (TensorFlow) turns a step
into HLO and `compiling` (JAX and libtpu) compiles it, each a program of its own that reads a
request from a file and writes its answer into another. `survey` calls them and draws conclusions.
"""
