"""Compiles training steps for TPUs without a TPU; `tfdeblur.preflight` is the command.

TensorFlow and the TPU compiler must not share a process: `lowering` (TensorFlow) converts a step
to HLO, and `compiling` (JAX and libtpu) compiles it, each in a subprocess. `survey` calls them and
evaluates their replies.
"""
