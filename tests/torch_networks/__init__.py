"""PyTorch versions of the networks whose weights can be converted, written from their papers.

Only the names of the parameters follow the authors' code, because weights files contain them. They
are used by parity tests and by `make_golden.py`; the library does not need PyTorch.
"""
