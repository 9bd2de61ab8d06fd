"""Operations that a TPU lacks or computes with too little precision are found."""

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


def inspect(*lines, dtype="f32", reducer="add"):
    text = _MODULE.format(dtype=dtype, reducer=reducer, lines="\n".join(f"  {x}" for x in lines))
    return inspection.inspect(hlo.parse(text))


def test_inspect_of_a_clean_step_has_no_problems():
    found = inspection.inspect(hlo.parse(STEP))
    assert found.problems(bfloat16=True) == []
    # 3x3 pixels of 3 channels per output element.
    assert found.multiplications == {"bf16": 2 * 8 * 8 * 16 * 27}
    assert found.bfloat16_share == 1.0
    assert found.widest == ()


def test_problems_of_a_step_in_the_wrong_precision_give_the_share():
    low = inspection.inspect(hlo.parse(STEP))
    assert "100% of the multiplications" in low.problems(bfloat16=False)[0]
    wide = inspection.inspect(hlo.parse(STEP.replace("bf16", "f32")))
    (problem,) = wide.problems(bfloat16=True)
    assert "only 0%" in problem and "unet16/first/convolution 100.0%" in problem
    assert wide.problems(bfloat16=False) == []


def test_inspect_counts_multiplications_of_matrix_products():
    found = inspect(
        "%b = f32[8,16]{1,0} parameter(1)",
        "ROOT %dot = f32[4,16]{1,0} dot(%a, %b), "
        "lhs_contracting_dims={1}, rhs_contracting_dims={0}",
    )
    assert found.multiplications == {"f32": 4 * 16 * 8}


def test_inspect_counts_multiplications_of_loops_repeatedly():
    found = inspection.inspect(hlo.parse(LOOP))
    product = 4 * 4 * 4
    assert found.multiplications == {"f32": 11 * product}
    assert found.once == product and found.repetition == 11
    # Only one result is alive at a time.
    assert found.features == 4 * 4 * 4
    assert inspection.inspect(hlo.parse(STEP)).repetition == 1
    assert inspect("ROOT %r = f32[4,8]{1,0} negate(%a)").repetition == 1


def test_inspect_names_sums_in_bfloat16():
    line = (
        "ROOT %r = bf16[] reduce(%a, %zero), dimensions={0,1}, to_apply=%add, "
        'metadata={op_name="critic/penalty/Sum"}'
    )
    found = inspect(line, dtype="bf16")
    assert found.low_sums == ("reduce (critic/penalty/Sum)",)
    assert "critic/penalty/Sum" in found.problems(bfloat16=True)[0]
    # A maximum is exact in any type.
    assert inspect(line, dtype="bf16", reducer="maximum").low_sums == ()


def test_inspect_names_bfloat16_squares_that_are_summed():
    lines = (
        "%square = bf16[4,8]{1,0} multiply(%a, %a)",
        "%wide = f32[4,8]{1,0} convert(%square)",
        "%none = f32[] constant(0)",
        "ROOT %r = f32[] reduce(%wide, %none), dimensions={0,1}, to_apply=%add",
    )
    assert inspect(*lines, dtype="bf16").low_norms == ("multiply (square)",)
    # A square that is not summed is an activation.
    assert inspect(lines[0].replace("%square", "ROOT %square"), dtype="bf16").low_norms == ()


def test_inspect_names_outputs_in_bfloat16():
    found = inspect("ROOT %t = (bf16[4,8]{1,0}) tuple(%a)", dtype="bf16")
    assert found.low_results == ("output 0 (a)",)


@pytest.mark.parametrize(
    ("line", "field", "text"),
    [
        ("ROOT %u = s32[<=8]{0} bitcast(%a)", "dynamic", "sizes unknown"),
        ("ROOT %o = token[] outfeed(%a)", "refused", "outfeed"),
        ('ROOT %c = f32[4] custom-call(%a), custom_call_target="TopK"', "refused", "TopK"),
        ("ROOT %d = f64[4,8]{1,0} convert(%a)", "wide", "float64"),
    ],
)
def test_inspect_names_unsupported_operations(line, field, text):
    found = inspect(line)
    assert getattr(found, field)
    assert any(text in problem for problem in found.problems(bfloat16=False))


def test_from_json_restores_to_json():
    found = inspect("ROOT %o = token[] outfeed(%a)")
    assert Inspection.from_json(found.to_json()) == found
