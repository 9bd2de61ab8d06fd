"""Batch sizes that are compiled, and what is concluded, with programs that only pretend."""

import os

import pytest

from tfdeblur.io.subprocesses import Answer
from tfdeblur.tpu import compiling, survey
from tfdeblur.tpu.cache import Cache
from tfdeblur.tpu.chips import CHIPS
from tfdeblur.tpu.survey import Surveyor
from tfdeblur.tpu.targets import recipe_target

CLEAN = {
    "dynamic": [],
    "refused": [],
    "wide": [],
    "low_sums": [],
    "low_norms": [],
    "low_results": [],
    "multiplications": {"bf16": 99, "f32": 1},
    "widest": [],
    "bfloat16_share": 0.99,
    # As a step of 32 images makes them that needs 1 MiB of memory for each.
    "features": 32 * 2 * 2**20,
    "once": 100,
}
MADE_BY = {"jax": "0.10.2", "jaxlib": "0.10.2", "libtpu": "0.0.52"}
CHIP = CHIPS["v5e"]


class Pretender:
    """Answers as both programs would for a step of known appetite.

    Args:
        fixed: Bytes of weights.
        each: Bytes of one image.
        breaks: Modules (by the end of their name) that answer with an error.
        remark: What is answered besides, or instead.
        code: Bytes of the program, which a layout does not know.
    """

    def __init__(self, fixed, each, breaks=None, remark=None, code=0):
        self.fixed, self.each, self.code = fixed, each, code
        self.breaks = breaks or {}
        self.remark = remark or {}
        self.compiled, self.laid_out = [], []
        self.batches = {}

    def __call__(self, module, request, *, seconds, environment):
        program = module.rpartition(".")[2]
        if program in self.breaks:
            return Answer({}, self.breaks[program])
        if program == "lowering":
            batch = request["config"]["training"]["global_batch"]
            self.batches[request["hlo"]] = batch
            made = {"tensorflow": "2.21.0", "keras": "3.15.1"}
            return Answer(
                {"fingerprint": f"step {batch}", "images": batch, "parameters": 7, **made}
            )
        assert environment["JAX_PLATFORMS"] == "cpu"
        batch = self.batches[request["hlo"]]
        layout = request.get("layout")
        (self.laid_out if layout else self.compiled).append(batch)
        assert layout is None or os.path.isdir(layout)
        code = 0 if layout else self.code
        needed = self.fixed + self.each * batch + code
        common = {"inspection": CLEAN, "seconds": 1.0, **MADE_BY, **self.remark}
        if not request["inspect"]:
            del common["inspection"]
        if needed > CHIP.usable:
            room = {"needed": needed, "limit": CHIP.usable}
            return Answer({**common, "refused": "no room", "no_room": True, **room})
        memory = {"arguments": self.fixed, "outputs": 0, "aliased": 0, "code": code}
        memory["temporaries"] = self.each * batch
        moved = {} if layout else {"bytes_accessed": 1e9}
        return Answer({**common, "memory": memory, "flops": 1e9 * batch, **moved})


@pytest.fixture(autouse=True)
def same_versions(monkeypatch):
    monkeypatch.setattr(compiling, "versions", lambda: MADE_BY)


def row_of(pretender, folder, *, confirm=False, memory_only=False, **options):
    name = "unet16_cifar10"
    with Surveyor(Cache(str(folder)), seconds=9, ask=pretender) as surveyor:
        target = recipe_target(name, **options)
        return surveyor.row(target, CHIP, confirm=confirm, memory_only=memory_only)


def test_the_largest_batch_follows_from_two_and_is_laid_out(tmp_path):
    pretender = Pretender(fixed=2**29, each=2**20, code=2**29)
    row = row_of(pretender, tmp_path)
    assert pretender.compiled == [32]
    second = (11 * 2**30 - 2**30) // 2**20
    assert second == survey._rounded(second + 1)
    assert pretender.laid_out == [32, second, row.largest]
    assert row.fits and row.error == "" and not row.memory_only
    # The program, which layouts leave out, is known from the batch that was compiled.
    assert row.largest == (CHIP.usable - 2**30) // 2**20
    assert row.found == pytest.approx(row.predicted)
    assert row.confirmed is None
    assert row.needed == 2**30 + 32 * 2**20
    assert row.flops == pytest.approx(1e9)
    assert row.most_images == pytest.approx(1e3 * 32 / row.least_ms)
    assert row.share == pytest.approx(0.99)
    assert row.versions["libtpu"] == "0.0.52"


def test_confirming_compiles_the_largest(tmp_path):
    pretender = Pretender(fixed=2**30, each=2**20)
    row = row_of(pretender, tmp_path, confirm=True)
    assert pretender.compiled == [32, row.largest]
    assert row.confirmed is True
    assert row.found == pytest.approx(row.predicted)
    # And that is not forgotten when nobody asks for it.
    again = Pretender(fixed=2**30, each=2**20)
    assert row_of(again, tmp_path) == row
    assert again.compiled == again.laid_out == []


def test_memory_alone(tmp_path):
    pretender = Pretender(fixed=2**30, each=2**20, code=2**29)
    row = row_of(pretender, tmp_path, memory_only=True)
    assert pretender.compiled == [] and pretender.laid_out[0] == 32
    assert len(pretender.laid_out) == 3
    assert row.fits and row.memory_only and row.flow_ms is None
    assert row.needed == 2**30 + 32 * 2**20
    assert row.largest == (CHIP.usable - 2**30) // 2**20
    assert row.flops == pytest.approx(1e9) and row.share == pytest.approx(0.99)
    assert "its memory is laid out" in row.lines()[0]


def test_layouts_are_not_made_again_where_all_is_asked_for(tmp_path):
    row_of(Pretender(2**29, 2**20, code=2**20), tmp_path, memory_only=True)
    whole = Pretender(2**29, 2**20, code=2**20)
    row = row_of(whole, tmp_path)
    assert whole.compiled == [32] and not row.memory_only
    # The program takes room, so the largest batch alone is another one.
    assert whole.laid_out == [row.largest]


def test_what_was_compiled_is_remembered_where_memory_alone_is_asked_for(tmp_path):
    whole = row_of(Pretender(2**30, 2**20), tmp_path)
    assert row_of(Pretender(2**30, 2**20), tmp_path, memory_only=True) == whole


def test_a_largest_batch_that_cannot_be_compiled_is_told(tmp_path):
    class Close(Pretender):
        """Has no room for the largest batch once the program is made."""

        def __call__(self, module, request, **options):
            full = self.batches.get(request.get("hlo", ""), 0) > 12000 and "layout" not in request
            self.each = 2**21 if full else 2**20
            return super().__call__(module, request, **options)

    row = row_of(Close(fixed=2**30, each=2**20), tmp_path, confirm=True)
    assert row.confirmed is False
    assert any("laid out, but it does not compile" in line for line in row.lines())


@pytest.mark.parametrize("more", [1.04, 1.1, 1.5])
def test_a_largest_batch_that_does_not_fit_is_closed_in_on(tmp_path, more):
    class Bent(Pretender):
        """Needs more than the line says where the memory is nearly full."""

        def __call__(self, module, request, **options):
            large = self.batches.get(request.get("hlo", ""), 0) > 10500
            self.each = round(2**20 * (more if large else 1.0))
            return super().__call__(module, request, **options)

    pretender = Bent(fixed=2**30, each=2**20)
    row = row_of(pretender, tmp_path, confirm=True)
    foretold, *_ = pretender.laid_out[2:]
    assert row.largest < foretold and pretender.compiled == [32, row.largest]
    assert len(pretender.laid_out) <= 2 + survey._TRIES_FOR_LARGEST
    truly = max(10500, int((CHIP.usable - 2**30) / (2**20 * more)))
    assert 0.94 * truly < row.largest <= truly
    assert row.confirmed is True and row.found <= CHIP.usable


@pytest.mark.parametrize("less", [0.9, 0.5, 0.3])
def test_a_largest_batch_that_leaves_room_is_tried_larger(tmp_path, less):
    class Saving(Pretender):
        """Needs less than the line says where the memory would be full."""

        def __call__(self, module, request, **options):
            batch = self.batches.get(request.get("hlo", ""), 0)
            self.each = round(2**20 * (less if batch > 11000 else 1.0))
            return super().__call__(module, request, **options)

    pretender = Saving(fixed=2**30, each=2**20)
    row = row_of(pretender, tmp_path, confirm=True)
    foretold, *larger = pretender.laid_out[2:]
    truly = int((CHIP.usable - 2**30) / (2**20 * less))
    if less == 0.9:  # Nearly full, and so not worth another compilation.
        assert not larger and row.largest == foretold
    else:
        assert foretold < larger[0] <= 2 * foretold
        assert 0.96 * truly < row.largest <= truly
    assert row.confirmed is True and row.found <= CHIP.usable
    assert row.predicted > 0.99 * CHIP.usable


def test_a_jump_past_the_largest_batch_is_taken_back(tmp_path):
    class Humped(Pretender):
        """Saves room at first, and then no more."""

        def __call__(self, module, request, **options):
            batch = self.batches.get(request.get("hlo", ""), 0)
            saved = 1.0 if batch <= 11000 else 0.5 if batch <= 16000 else 1.5
            self.each = round(2**20 * saved)
            return super().__call__(module, request, **options)

    pretender = Humped(fixed=2**30, each=2**20)
    row = row_of(pretender, tmp_path)
    assert any(batch > 16000 for batch in pretender.laid_out)
    assert 15000 < row.largest <= 16000
    assert len(pretender.laid_out) <= 2 + survey._TRIES_FOR_LARGEST


def test_memory_that_does_not_grow_says_how_much_is_known_to_fit(tmp_path):
    row = row_of(Pretender(fixed=2**30, each=0), tmp_path)
    assert row.error == "" and row.largest > 32


def test_a_second_run_compiles_nothing(tmp_path):
    first = row_of(Pretender(2**30, 2**20), tmp_path, confirm=True)
    again = Pretender(2**30, 2**20)
    assert row_of(again, tmp_path, confirm=True) == first
    assert again.compiled == again.laid_out == []


def test_a_batch_without_room_is_made_smaller(tmp_path):
    pretender = Pretender(fixed=0, each=2**30)
    row = row_of(pretender, tmp_path)
    assert not row.fits and row.error == ""
    assert row.needed == 32 * 2**30
    assert row.largest == 15
    assert row.batch < 15 and row.flops == pytest.approx(1e9)
    assert "at most 15 fit" in row.lines()[0]


def test_an_image_that_fills_the_chip(tmp_path):
    row = row_of(Pretender(fixed=0, each=9 * 2**30), tmp_path, replica_batch=1)
    assert row.fits and row.largest == 1
    row = row_of(Pretender(fixed=0, each=17 * 2**30), tmp_path / "more", replica_batch=1)
    assert not row.fits and row.largest == 0
    assert "no batch was found" in row.lines()[0]


@pytest.mark.parametrize("program", ["lowering", "compiling"])
def test_a_crash_is_one_rows_message_and_is_not_kept(tmp_path, program):
    broken = Pretender(2**30, 2**20, breaks={program: "the program was ended by SIGSEGV"})
    row = row_of(broken, tmp_path)
    assert "SIGSEGV" in row.error and not row.fits
    assert "does not compile" in row.lines()[0]
    assert row_of(Pretender(2**30, 2**20), tmp_path).error == ""


def test_what_the_compiler_refuses_is_told_with_the_operation(tmp_path):
    seen = {**CLEAN, "refused": ["the custom call 'TopK' (loss/TopK)"]}
    pretender = Pretender(2**30, 2**20, remark={"refused": "UNIMPLEMENTED", "inspection": seen})
    row = row_of(pretender, tmp_path)
    assert "UNIMPLEMENTED" in row.error and "TopK" in row.error


def test_findings_reach_the_row(tmp_path):
    seen = {**CLEAN, "low_sums": ["reduce (loss/Sum)"]}
    row = row_of(Pretender(2**30, 2**20, remark={"inspection": seen}), tmp_path)
    assert row.fits and "loss/Sum" in row.problems[0]
    assert any("loss/Sum" in line for line in row.lines())


def test_operations_of_a_loop_count_as_often_as_it_runs(tmp_path):
    plain = row_of(Pretender(2**30, 2**20), tmp_path / "plain")
    seen = {**CLEAN, "once": 40}
    looped = row_of(Pretender(2**30, 2**20, remark={"inspection": seen}), tmp_path / "looped")
    assert looped.flops == pytest.approx(2.5 * plain.flops)
    assert looped.flow_ms == pytest.approx(2.5 * plain.flow_ms)
    assert looped.needed == plain.needed


@pytest.mark.parametrize(
    ("batch", "rounded"), [(0.5, 0), (7.9, 7), (9, 8), (11, 10), (1562, 1536), (26, 24)]
)
def test_second_batches_are_round(batch, rounded):
    assert survey._rounded(batch) == rounded


def test_precision_of_a_target():
    assert survey.target_is_low(recipe_target("unet16_cifar10"))
