"""The TPU compiler: what it says is read, and once for real a small step is compiled."""

import subprocess
import sys

import pytest

from tfdeblur.tpu import compiling

NO_ROOM = """RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory \
space hbm. Used 19.50G of 15.75G hbm. Exceeded hbm capacity by 3.75G.

Total hbm usage >= 19.75G:
    reserved        258.00M
"""


NO_ROOM_TODAY = """RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the \
total memory required for HLO temporaries (19.50G) exceeds available HBM (15.75G). HLO module: a.
See https://openxla.org/xla/errors/error_1000 for more details.
"""


@pytest.mark.parametrize("message", [NO_ROOM, NO_ROOM_TODAY])
def test_a_step_without_room_tells_what_it_wants(message):
    answer = compiling.refusal(message)
    assert answer["no_room"] is True
    assert answer["needed"] == 19.5 * 2**30
    assert answer["limit"] == 15.75 * 2**30
    assert answer["refused"].startswith("RESOURCE_EXHAUSTED")


def test_another_refusal_is_its_first_line():
    answer = compiling.refusal("\nUNIMPLEMENTED: no such operation\nStack trace\n")
    assert answer == {"refused": "UNIMPLEMENTED: no such operation"}
    assert compiling.refusal("")["refused"]


def test_copies_become_barriers_and_nothing_else_changes():
    text = "%1 = mhlo.copy %0 : tensor<2x3xf32>\n%2 = stablehlo.add %1, %1 : tensor<2x3xf32>"
    written = compiling._COPY.sub(compiling._BARRIER, text)
    assert written.splitlines()[0] == "%1 = stablehlo.optimization_barrier %0 : tensor<2x3xf32>"
    assert written.splitlines()[1] == text.splitlines()[1]


def test_importing_it_brings_neither_jax_nor_tensorflow():
    words = (
        "import sys; from tfdeblur.tpu import compiling; "
        "print([name for name in ('jax', 'tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
