"""The interface for compiled calls on devices, which evaluation and validation use."""

import abc
from collections.abc import Callable
from typing import Any

import numpy as np


class Executor(abc.ABC):
    """Runs functions of Keras code on the devices of this process.

    Arrays on devices hold one batch, divided equally over the devices along the first axis.

    Attributes:
        devices: Number of devices; batch sizes must be multiples of it.
    """

    devices: int

    @abc.abstractmethod
    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiles a function from arrays on devices to nested structures of them.

        It is traced once per shape. Variables that it reads have their current values in each
        call. Each device receives its part of the arrays, or the whole batch if the backend
        partitions programs itself: results must not depend on other images of the batch.
        """

    @abc.abstractmethod
    def place(self, images: Any) -> Any:
        """Divides a batch in the host's memory over the devices."""

    @abc.abstractmethod
    def fetch(self, value: Any) -> np.ndarray:
        """Returns an array on devices as one NumPy array, in the order of the batch."""

    @abc.abstractmethod
    def wait(self, value: Any) -> None:
        """Waits until an array has been computed."""
