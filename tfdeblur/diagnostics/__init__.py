"""Checks of everything that training depends on; `tfdeblur.doctor` is the command.

Checks that may hang or crash (a TPU, a bucket, a measured step) run in a subprocess.
"""
