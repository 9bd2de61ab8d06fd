"""What a TPU would refuse or compute too coarsely is found and named."""

import pytest

from tests.tfdeblur.tpu.test_hlo import LOOP, STEP
from tfdeblur.tpu import hlo, inspection
from tfdeblur.tpu.inspection import Inspection

_MODULE = """
%add (x: {dtype}[], y: {dtype}[]) -> {dtype}[] {{
  %x = {dtype}[] parameter(0)
  %y = {dtype}[] parameter(1)
  ROOT %sum = {dtype}[] {reducer}(%x, %y)
}}

ENTRY %main {{
  %a = {dtype}[4,8]{{1,0}} parameter(0)
  %zero = {dtype}[] constant(0)
{lines}
}}
"""


def look(*lines, dtype="f32", reducer="add"):
    text = _MODULE.format(dtype=dtype, reducer=reducer, lines="\n".join(f"  {x}" for x in lines))
    return inspection.inspect(hlo.parse(text))


def test_a_clean_step_has_no_problems():
    found = inspection.inspect(hlo.parse(STEP))
    assert found.problems(bfloat16=True) == []
    # 3x3 pixels of 3 channels for each of the outputs.
    assert found.multiplications == {"bf16": 2 * 8 * 8 * 16 * 27}
    assert found.bfloat16_share == 1.0
    assert found.widest == ()


def test_a_step_that_should_be_in_the_other_precision():
    assert (
        "100% of the multiplications are in bfloat16"
        in (inspection.inspect(hlo.parse(STEP)).problems(bfloat16=False)[0])
    )
    wide = inspection.inspect(hlo.parse(STEP.replace("bf16", "f32")))
    (problem,) = wide.problems(bfloat16=True)
    assert "only 0%" in problem and "unet16/first/convolution 100.0%" in problem
    assert wide.problems(bfloat16=False) == []


def test_products_count_what_is_summed():
    found = look(
        "%b = f32[8,16]{1,0} parameter(1)",
        "ROOT %dot = f32[4,16]{1,0} dot(%a, %b), "
        "lhs_contracting_dims={1}, rhs_contracting_dims={0}",
    )
    assert found.multiplications == {"f32": 4 * 16 * 8}


def test_what_stands_in_a_loop_counts_as_often_as_it_runs():
    found = inspection.inspect(hlo.parse(LOOP))
    product = 4 * 4 * 4
    assert found.multiplications == {"f32": 11 * product}
    assert found.once == product and found.repetition == 11
    # There is one of it at a time.
    assert found.features == 4 * 4 * 4
    assert inspection.inspect(hlo.parse(STEP)).repetition == 1
    assert look("ROOT %r = f32[4,8]{1,0} negate(%a)").repetition == 1


def test_sums_in_bfloat16_are_named():
    line = (
        "ROOT %r = bf16[] reduce(%a, %zero), dimensions={0,1}, to_apply=%add, "
        'metadata={op_name="critic/penalty/Sum"}'
    )
    found = look(line, dtype="bf16")
    assert found.low_sums == ("reduce (critic/penalty/Sum)",)
    assert "summed in bfloat16" in found.problems(bfloat16=True)[0]
    # The largest of many is one of them, whatever its type.
    assert look(line, dtype="bf16", reducer="maximum").low_sums == ()


def test_squares_and_roots_that_are_summed_in_float32_are_named():
    lines = (
        "%square = bf16[4,8]{1,0} multiply(%a, %a)",
        "%wide = f32[4,8]{1,0} convert(%square)",
        "%none = f32[] constant(0)",
        "ROOT %r = f32[] reduce(%wide, %none), dimensions={0,1}, to_apply=%add",
    )
    assert look(*lines, dtype="bf16").low_norms == ("multiply (square)",)
    # As an activation a square may be coarse.
    assert look(lines[0].replace("%square", "ROOT %square"), dtype="bf16").low_norms == ()


def test_outputs_of_16_bits_are_named():
    found = look("ROOT %t = (bf16[4,8]{1,0}) tuple(%a)", dtype="bf16")
    assert found.low_results == ("output 0 (a)",)


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        ("ROOT %u = s32[<=8]{0} bitcast(%a)", "dynamic", "sizes are not known"),
        ("ROOT %o = token[] outfeed(%a)", "refused", "outfeed"),
        ('ROOT %c = f32[4] custom-call(%a), custom_call_target="TopK"', "refused", "TopK"),
        ("ROOT %d = f64[4,8]{1,0} convert(%a)", "wide", "float64"),
    ],
)
def test_what_a_tpu_does_not_have_is_named(line, field, words):
    found = look(line)
    assert getattr(found, field)
    assert any(words in problem for problem in found.problems(bfloat16=False))


def test_it_survives_json():
    found = look("ROOT %o = token[] outfeed(%a)")
    assert Inspection.from_json(found.to_json()) == found
