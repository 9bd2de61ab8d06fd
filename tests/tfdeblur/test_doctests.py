"""Examples in docstrings run and print what they show."""

import doctest
import importlib
import pkgutil

import pytest

import tfdeblur


def modules_with_examples() -> list[str]:
    """Returns the modules whose source contains an example, without importing them."""
    found = []
    for module in pkgutil.walk_packages(tfdeblur.__path__, "tfdeblur."):
        spec = module.module_finder.find_spec(module.name, None)
        source = spec.loader.get_source(module.name) if spec and spec.loader else ""
        if ">>> " in (source or ""):
            found.append(module.name)
    return ["tfdeblur", *sorted(found)]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_print_what_they_show(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0
