"""The networks that weights are taken over from, in PyTorch, written from their papers.

Only the names of the parameters follow the authors' code, because files of weights carry them. They
are run by the tests that compare and by `make_golden.py`; nothing in the library needs PyTorch.
"""
