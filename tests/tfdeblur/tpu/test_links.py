"""Bytes between devices are read from the text of a program."""

import pytest

from tfdeblur.tpu.links import exchanged

TEXT = """HloModule jit_program, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  ROOT %sum = f32[] add(f32[] %a, f32[] %b)
}

%body (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %value = f32[8]{0} get-tuple-element(%state), index=1
  %reduced = f32[8]{0:T(128)} all-reduce(%value), channel_id=1, to_apply=%add
  ROOT %tuple = (s32[], f32[8]) tuple(%value, %reduced)
}

%less (state: (s32[], f32[8])) -> pred[] {
  %bound = s32[]{:T(128)} constant(5)
  %index = s32[]{:T(128)} get-tuple-element(%state), index=0
  ROOT %lt = pred[]{:T(512)} compare(%index, %bound), direction=LT
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %pair = (f32[4]{0}, bf16[2,3]{1,0}) all-reduce(%x, %y), channel_id=2, to_apply=%add
  %loop = (s32[], f32[8]) while(%start), condition=%less, body=%body
  %start = (bf16[9]{0}, bf16[9]{0}, u32[]{:S(2)}) collective-permute-start(%x), channel_id=3
  %begun = (f32[8]{0}, f32[64]{0}) all-gather-start(%x), channel_id=4, dimensions={0}
  %scattered = f16[4]{0} reduce-scatter(%x), channel_id=5, dimensions={0}, to_apply=%add
  %gathered = f32[64]{0} all-gather(%x), channel_id=3, dimensions={0}
  %named = f32[4]{0} copy(%all-reduce.7)
}
"""


def test_exchanged_counts_collectives_and_repeats_loops():
    assert exchanged(TEXT, 8) == pytest.approx(
        {
            "all-reduce f32": 2 * 7 / 8 * (16 + 5 * 32),
            "all-reduce bf16": 2 * 7 / 8 * 12,
            "all-gather f32": 7 / 8 * (256 + 256),
            "collective-permute bf16": 7 / 8 * 18,
            "reduce-scatter f16": 7 * 8,
        }
    )


def test_one_device_sends_nothing():
    assert exchanged(TEXT, 1) == {}
