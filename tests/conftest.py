"""What every test relies on: two logical CPU devices, the real-data fixture, the slow marker."""

import os
import pathlib
import signal
import sys
from collections.abc import Iterator

import hypothesis
import pytest

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:
    # The processes of pytest-xdist share the cores: threads of each on all would only queue. The
    # programs that tests start inherit it; sums are only equal to the bit with as many threads.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

try:
    import tensorflow as tf
except ImportError:  # the ground floor is tested without TensorFlow too
    pass
else:
    # Two replicas on one machine. TensorFlow must not have started yet, hence not in a fixture.
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration(), tf.config.LogicalDeviceConfiguration()],
    )
    # It starts here, so that its threads are the same whichever test comes first.
    tf.config.list_logical_devices()

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run the slow tests as well")


def pytest_configure() -> None:
    """Takes SIGINT back where a shell started the tests in the background.

    Such a shell lets its programs ignore it, and theirs as well: runs would not hear it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects slow and long tests unless a flag or a -m expression selects them."""
    expression = config.getoption("-m")
    hidden = {"long"} - set(expression.split())
    if not config.getoption("--run-slow") and "slow" not in expression:
        hidden |= {"slow"} - set(expression.split())

    def is_hidden(item: pytest.Item) -> bool:
        return any(item.get_closest_marker(marker) for marker in hidden)

    config.hook.pytest_deselected(items=list(filter(is_hidden, items)))
    items[:] = [item for item in items if not is_hidden(item)]


@pytest.fixture(autouse=True)
def own_determinism() -> Iterator[None]:
    """Operations that a test has made deterministic are so for that test alone.

    Some have no deterministic form under XLA, so a later test in the same process would fail.
    """
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python import pywrap_tfe
        from tensorflow.python.eager import backprop
        from tensorflow.python.framework import config  # the public module only switches it on

        if config.is_op_determinism_enabled():
            config.disable_op_determinism()
            tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
            pywrap_tfe.TFE_Py_RegisterVSpace(backprop._default_vspace)


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real data sets, $TFDEBLUR_DATA; the test skips where there is none."""
    path = os.environ.get("TFDEBLUR_DATA")
    if not path:
        pytest.skip("TFDEBLUR_DATA is not set: no real data on this machine")
    folder = pathlib.Path(path)
    if not folder.is_dir():
        pytest.fail(f"TFDEBLUR_DATA={path} is not a folder")
    return folder
