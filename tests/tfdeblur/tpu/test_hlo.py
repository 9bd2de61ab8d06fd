"""HLO text is parsed into instructions with types, operands and attributes."""

import pytest

from tfdeblur.tpu import hlo

STEP = """
HloModule a_inference_step_1.10, entry_computation_layout={(bf16[2,8,8,3]{3,2,1,0})->(f32[])}

%add.1 (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %add.2 = f32[] add(f32[] %x, f32[] %y)
}

ENTRY %main.9 (arg0.1: bf16[2,8,8,3], arg1.2: f32[3,3,3,16]) -> (f32[]) {
  %arg0.1 = bf16[2,8,8,3]{3,2,1,0} parameter(0), metadata={op_name="XLA_Args/images"}
  %arg1.2 = f32[3,3,3,16]{3,2,1,0} parameter(1)
  %convert.3 = bf16[3,3,3,16]{3,2,1,0} convert(f32[3,3,3,16]{3,2,1,0} %arg1.2)
  %convolution.4 = bf16[2,8,8,16]{3,2,1,0} convolution(bf16[2,8,8,3]{3,2,1,0} %arg0.1, \
bf16[3,3,3,16]{3,2,1,0} %convert.3), window={size=3x3 pad=1_1x1_1}, \
dim_labels=b01f_01io->b01f, metadata={op_type="Conv2D" \
op_name="unet16/first/convolution" source_file="a.py" source_line=3}
  %convert.5 = f32[2,8,8,16]{3,2,1,0} convert(%convolution.4)
  %constant.6 = f32[] constant(0)
  %reduce.7 = f32[] reduce(%convert.5, %constant.6), dimensions={0,1,2,3}, to_apply=%add.1, \
metadata={op_type="Sum" op_name="loss/Sum"}
  ROOT %tuple.8 = (f32[]) tuple(f32[] %reduce.7)
}
"""


@pytest.fixture
def main():
    program = hlo.parse(STEP)
    return program.computations[program.entry]


def test_parse_returns_computations_and_entry(main):
    program = hlo.parse(STEP)
    assert set(program.computations) == {"add.1", "main.9"}
    assert program.entry == "main.9"
    assert len(list(program)) == 3 + 8
    assert main.root.opcode == "tuple"


def test_parse_reads_types_and_sizes(main):
    convolution = main.instructions["convolution.4"]
    assert convolution.shape.dtype == "bf16"
    assert convolution.shape.sizes == (2, 8, 8, 16)
    assert convolution.shape.elements == 2 * 8 * 8 * 16
    assert main.instructions["constant.6"].shape.sizes == ()


def test_parse_reads_operands_with_and_without_types(main):
    assert main.instructions["convolution.4"].operands == ("arg0.1", "convert.3")
    assert main.instructions["reduce.7"].operands == ("convert.5", "constant.6")
    assert main.instructions["constant.6"].operands == ()


def test_parse_reads_attributes_and_names(main):
    convolution = main.instructions["convolution.4"]
    assert convolution.attributes["dim_labels"] == "b01f_01io->b01f"
    assert convolution.op_name == "unet16/first/convolution"
    assert main.instructions["reduce.7"].attributes["to_apply"] == "add.1"
    assert main.instructions["tuple.8"].where == "tuple.8"


def test_parse_of_dynamic_sizes_gives_their_bounds():
    text = 'ENTRY %e {\n  ROOT %u = (s32[<=8]{0}, s32[]) custom-call(), custom_call_target="U"\n}'
    found = hlo.parse(text).computations["e"].root
    assert [shape.is_static for shape in found.shapes] == [False, True]
    assert found.shape.sizes == (8,)
    assert found.attributes["custom_call_target"] == "U"


LOOP = """
HloModule loop

square {
  x = f32[4,4]{1,0} parameter(0)
  ROOT product = f32[4,4]{1,0} dot(x, x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

less.1 {
  state.1 = (s32[], f32[4,4]{1,0}) parameter(0)
  index.1 = s32[] get-tuple-element(state.1), index=0
  bound.1 = s32[] constant(5)
  compare.1 = pred[] compare(index.1, bound.1), direction=LT
  ROOT tuple.1 = (pred[]) tuple(compare.1)
}

condition.2 {
  state.2 = (s32[], f32[4,4]{1,0}) parameter(0)
  call.2 = (pred[]) call(state.2), to_apply=less.1
  ROOT get.2 = pred[] get-tuple-element(call.2), index=0
}

body.3 {
  state.3 = (s32[], f32[4,4]{1,0}) parameter(0)
  index.3 = s32[] get-tuple-element(state.3), index=0
  one.3 = s32[] constant(1)
  next.3 = s32[] add(index.3, one.3)
  value.3 = f32[4,4]{1,0} get-tuple-element(state.3), index=1
  first.3 = f32[4,4]{1,0} call(value.3), to_apply=square
  second.3 = f32[4,4]{1,0} call(first.3), to_apply=square
  ROOT result.3 = (s32[], f32[4,4]{1,0}) tuple(next.3, second.3)
}

ENTRY main {
  value.4 = f32[4,4]{1,0} parameter(0)
  zero.4 = s32[] constant(0)
  before.4 = f32[4,4]{1,0} call(value.4), to_apply=square
  start.4 = (s32[], f32[4,4]{1,0}) tuple(zero.4, before.4)
  ROOT loop.4 = (s32[], f32[4,4]{1,0}) while(start.4), condition=condition.2, body=body.3
}
"""


def test_repeats_multiplies_by_constant_trip_counts():
    repeats = hlo.parse(LOOP).repeats()
    assert repeats == {"main": 1, "body.3": 5, "condition.2": 5, "less.1": 5, "square": 1 + 5 * 2}


def test_repeats_of_a_loop_without_constant_bound_is_one():
    text = LOOP.replace("constant(5)", "get-tuple-element(state.1), index=0")
    assert hlo.parse(text).repeats()["body.3"] == 1


def test_repeats_counts_all_branches_as_taken():
    text = LOOP.replace(
        "before.4 = f32[4,4]{1,0} call(value.4), to_apply=square",
        "before.4 = f32[4,4]{1,0} conditional(zero.4, value.4, value.4), "
        "branch_computations={%square, %square}",
    )
    assert hlo.parse(text).repeats()["square"] == 2 + 5 * 2


def test_parse_without_entry_raises_value_error():
    with pytest.raises(ValueError, match="ENTRY"):
        hlo.parse("HloModule nothing")
