"""The compiler's buffer assignment is read from its dumps."""

import pytest

from tfdeblur.tpu import layout

ASSIGNMENT = """BufferAssignment:
allocation 0: size 512, page 0, thread-local:
 value: <212 or.113 @0> (size=512,offset=0): u16[]{:T(256)}
allocation 1: size 1000, page 0, parameter 0, shape |u8[32,96,128,3]| at ShapeIndex {}:
 value: <2566 XLA_Args.1 @0> (size=1179648,offset=0): u8[32,96,128,3]{2,1,3,0:T(32,128)(4,1)}
allocation 2: size 300, page 0, parameter 7, shape |f32[3]| at ShapeIndex {}, maybe-live-out:
allocation 3: size 40, page 0, output shape is |(f32[], f32[3])|, maybe-live-out:
allocation 4: size 512, page 0, constant:
allocation 5: size 70000, page 0, preallocated-temp:
allocation 6: size 128, color 2, page 0, preallocated-temp:
"""
MEMORY = {"arguments": 1300, "outputs": 340, "aliased": 300, "temporaries": 70000, "code": 0}


def test_parse_returns_bytes_by_kind():
    assert layout.parse(ASSIGNMENT) == MEMORY


@pytest.mark.parametrize("text", ["", "allocation 1: something else", "BufferAssignment:\n"])
def test_parse_of_another_format_returns_none(text):
    assert layout.parse(text) is None


def test_find_returns_only_a_complete_assignment(tmp_path):
    folder = tmp_path / "[odd]"
    folder.mkdir()
    assert layout.find(str(folder)) is None
    assert layout.find(str(folder), ended=True) is None
    name = "module_0000.step.cl_1.after_optimizations"
    (folder / f"{name}-buffer-assignment.txt").write_text(ASSIGNMENT)
    assert layout.find(str(folder)) is None
    assert layout.find(str(folder), ended=True) == MEMORY
    (folder / f"{name}_after_buffer_assignment.txt").write_text("HloModule step")
    assert layout.find(str(folder)) == MEMORY


def test_flags_keep_the_present_value():
    assert layout.flags("/a") == "--xla_dump_to=/a --xla_dump_hlo_as_text"
    assert layout.flags("/a", "--xla_b=1").startswith("--xla_b=1 --xla_dump_to=/a ")
