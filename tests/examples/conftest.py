"""Loading of the programs in examples/, which are no package."""

import importlib.util
import pathlib
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def load_example(repository: pathlib.Path) -> Callable[[str], ModuleType]:
    """Returns the function that imports a program by its name."""

    def load(name: str) -> ModuleType:
        path = repository / "examples" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"{name}_example", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
