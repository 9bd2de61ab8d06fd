"""Compiles training steps for TPUs without a TPU; `tfdeblur.preflight` is the command.

`program` traces and compiles the step of all devices of a slice, with JAX. For TensorFlow's engine,
`lowering` converts the step of one replica to HLO and `compiling` compiles it. `survey` runs these
programs in subprocesses and turns their replies into rows of `table`.
"""
