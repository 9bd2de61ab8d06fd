"""Messages of the TPU compiler are parsed, and its input is adapted."""

import subprocess
import sys

import pytest

from tfdeblur.tpu import compiling

OUT_OF_MEMORY = """RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in \
memory space hbm. Used 19.50G of 15.75G hbm. Exceeded hbm capacity by 3.75G.

Total hbm usage >= 19.75G:
    reserved        258.00M
"""


NEW_OUT_OF_MEMORY = """RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the \
total memory required for HLO temporaries (19.50G) exceeds available HBM (15.75G). HLO module: a.
See https://openxla.org/xla/errors/error_1000 for more details.
"""


@pytest.mark.parametrize("message", [OUT_OF_MEMORY, NEW_OUT_OF_MEMORY])
def test_refusal_of_a_step_that_does_not_fit_has_both_sizes(message):
    reply = compiling.refusal(message)
    assert reply["no_room"] is True
    assert reply["needed"] == 19.5 * 2**30
    assert reply["limit"] == 15.75 * 2**30
    assert reply["refused"].startswith("RESOURCE_EXHAUSTED")


def test_refusal_for_another_reason_is_the_first_line():
    reply = compiling.refusal("\nUNIMPLEMENTED: no such operation\nStack trace\n")
    assert reply == {"refused": "UNIMPLEMENTED: no such operation"}
    assert compiling.refusal("")["refused"]


def test_copies_are_replaced_by_barriers():
    text = "%1 = mhlo.copy %0 : tensor<2x3xf32>\n%2 = stablehlo.add %1, %1 : tensor<2x3xf32>"
    replaced = compiling._COPY.sub(compiling._BARRIER, text)
    assert replaced.splitlines()[0] == "%1 = stablehlo.optimization_barrier %0 : tensor<2x3xf32>"
    assert replaced.splitlines()[1] == text.splitlines()[1]


def test_import_does_not_import_jax_or_tensorflow():
    program = (
        "import sys; from tfdeblur.tpu import compiling; "
        "print([name for name in ('jax', 'tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
