"""What a training depends on, looked at one by one; `tfdeblur.doctor` is the command.

What may hang or crash (a TPU, a bucket, a measured step) runs as a program of its own.
"""
