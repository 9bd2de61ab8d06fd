"""The search for the largest batch, with fake subprocesses."""

import os

import pytest

from tfdeblur.io.subprocesses import Reply
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
    # Of a step of 32 images that needs 1 MiB per image.
    "features": 32 * 2 * 2**20,
    "once": 100,
}
VERSIONS = {"jax": "0.10.2", "jaxlib": "0.10.2", "libtpu": "0.0.52"}
CHIP = CHIPS["v5e"]


class FakeCompiler:
    """Replies as both subprocesses would for a step of known memory.

    Args:
        fixed: Bytes of weights.
        each: Bytes of one image.
        breaks: Errors of subprocesses, by the last part of their module's name.
        extra: Values that are added to the reply, or replace its own.
        code: Bytes of the program, which a layout does not include.
    """

    def __init__(self, fixed, each, breaks=None, extra=None, code=0):
        self.fixed, self.each, self.code = fixed, each, code
        self.breaks = breaks or {}
        self.extra = extra or {}
        self.compiled, self.laid_out = [], []
        self.batches = {}

    def __call__(self, module, request, *, seconds, environment):
        program = module.rpartition(".")[2]
        if program in self.breaks:
            return Reply({}, self.breaks[program])
        if program == "lowering":
            batch = request["config"]["training"]["global_batch"]
            self.batches[request["hlo"]] = batch
            versions = {"tensorflow": "2.21.0", "keras": "3.15.1"}
            return Reply(
                {"fingerprint": f"step {batch}", "images": batch, "parameters": 7, **versions}
            )
        assert environment["JAX_PLATFORMS"] == "cpu"
        batch = self.batches[request["hlo"]]
        layout = request.get("layout")
        (self.laid_out if layout else self.compiled).append(batch)
        assert layout is None or os.path.isdir(layout)
        code = 0 if layout else self.code
        needed = self.fixed + self.each * batch + code
        common = {"inspection": CLEAN, "seconds": 1.0, **VERSIONS, **self.extra}
        if not request["inspect"]:
            del common["inspection"]
        if needed > CHIP.usable:
            sizes = {"needed": needed, "limit": CHIP.usable}
            return Reply({**common, "refused": "no room", "no_room": True, **sizes})
        memory = {"arguments": self.fixed, "outputs": 0, "aliased": 0, "code": code}
        memory["temporaries"] = self.each * batch
        moved = {} if layout else {"bytes_accessed": 1e9}
        return Reply({**common, "memory": memory, "flops": 1e9 * batch, **moved})


@pytest.fixture(autouse=True)
def same_versions(monkeypatch):
    monkeypatch.setattr(compiling, "versions", lambda: VERSIONS)


def row_of(compiler, folder, *, confirm=False, memory_only=False, **options):
    name = "unet16_cifar10"
    with Surveyor(Cache(str(folder)), seconds=9, call=compiler) as surveyor:
        target = recipe_target(name, **options)
        return surveyor.row(target, CHIP, confirm=confirm, memory_only=memory_only)


def test_row_predicts_the_largest_batch_from_two_and_lays_it_out(tmp_path):
    compiler = FakeCompiler(fixed=2**29, each=2**20, code=2**29)
    row = row_of(compiler, tmp_path)
    assert compiler.compiled == [32]
    second = (11 * 2**30 - 2**30) // 2**20
    assert second == survey._rounded(second + 1)
    assert compiler.laid_out == [32, second, row.largest]
    assert row.fits and row.error == "" and not row.memory_only
    # Includes the program, whose size is known from the batch that was compiled.
    assert row.largest == (CHIP.usable - 2**30) // 2**20
    assert row.found == pytest.approx(row.predicted)
    assert row.confirmed is None
    assert row.needed == 2**30 + 32 * 2**20
    assert row.flops == pytest.approx(1e9)
    assert row.most_images == pytest.approx(1e3 * 32 / row.least_ms)
    assert row.share == pytest.approx(0.99)
    assert row.versions["libtpu"] == "0.0.52"


def test_row_with_confirm_compiles_the_largest_batch(tmp_path):
    compiler = FakeCompiler(fixed=2**30, each=2**20)
    row = row_of(compiler, tmp_path, confirm=True)
    assert compiler.compiled == [32, row.largest]
    assert row.confirmed is True
    assert row.found == pytest.approx(row.predicted)
    # Without confirm, the row takes it from the cache.
    again = FakeCompiler(fixed=2**30, each=2**20)
    assert row_of(again, tmp_path) == row
    assert again.compiled == again.laid_out == []


def test_row_with_memory_only_compiles_nothing_completely(tmp_path):
    compiler = FakeCompiler(fixed=2**30, each=2**20, code=2**29)
    row = row_of(compiler, tmp_path, memory_only=True)
    assert compiler.compiled == [] and compiler.laid_out[0] == 32
    assert len(compiler.laid_out) == 3
    assert row.fits and row.memory_only and row.flow_ms is None
    assert row.needed == 2**30 + 32 * 2**20
    assert row.largest == (CHIP.usable - 2**30) // 2**20
    assert row.flops == pytest.approx(1e9) and row.share == pytest.approx(0.99)
    assert "its memory is laid out" in row.lines()[0]


def test_row_after_memory_only_reuses_its_layouts(tmp_path):
    row_of(FakeCompiler(2**29, 2**20, code=2**20), tmp_path, memory_only=True)
    compiler = FakeCompiler(2**29, 2**20, code=2**20)
    row = row_of(compiler, tmp_path)
    assert compiler.compiled == [32] and not row.memory_only
    # The program needs memory, so the largest batch is another one.
    assert compiler.laid_out == [row.largest]


def test_row_with_memory_only_after_compilation_returns_the_compiled_row(tmp_path):
    compiled = row_of(FakeCompiler(2**30, 2**20), tmp_path)
    assert row_of(FakeCompiler(2**30, 2**20), tmp_path, memory_only=True) == compiled


def test_row_of_a_largest_batch_that_does_not_compile_is_not_confirmed(tmp_path):
    class Close(FakeCompiler):
        """Needs more memory for the largest batch when it is compiled completely."""

        def __call__(self, module, request, **options):
            full = self.batches.get(request.get("hlo", ""), 0) > 12000 and "layout" not in request
            self.each = 2**21 if full else 2**20
            return super().__call__(module, request, **options)

    row = row_of(Close(fixed=2**30, each=2**20), tmp_path, confirm=True)
    assert row.confirmed is False
    assert any("does not compile" in line for line in row.lines())


@pytest.mark.parametrize("more", [1.04, 1.1, 1.5])
def test_row_of_a_predicted_batch_that_does_not_fit_searches_below_it(tmp_path, more):
    class Bent(FakeCompiler):
        """Needs more than the line predicts if the memory is nearly full."""

        def __call__(self, module, request, **options):
            large = self.batches.get(request.get("hlo", ""), 0) > 10500
            self.each = round(2**20 * (more if large else 1.0))
            return super().__call__(module, request, **options)

    compiler = Bent(fixed=2**30, each=2**20)
    row = row_of(compiler, tmp_path, confirm=True)
    predicted, *_ = compiler.laid_out[2:]
    assert row.largest < predicted and compiler.compiled == [32, row.largest]
    assert len(compiler.laid_out) <= 2 + survey._MAX_SEARCH_LAYOUTS
    expected = max(10500, int((CHIP.usable - 2**30) / (2**20 * more)))
    assert 0.94 * expected < row.largest <= expected
    assert row.confirmed is True and row.found <= CHIP.usable


@pytest.mark.parametrize("less", [0.9, 0.5, 0.3])
def test_row_of_a_predicted_batch_that_leaves_memory_free_searches_above_it(tmp_path, less):
    class Saving(FakeCompiler):
        """Needs less than the line predicts if the memory is nearly full."""

        def __call__(self, module, request, **options):
            batch = self.batches.get(request.get("hlo", ""), 0)
            self.each = round(2**20 * (less if batch > 11000 else 1.0))
            return super().__call__(module, request, **options)

    compiler = Saving(fixed=2**30, each=2**20)
    row = row_of(compiler, tmp_path, confirm=True)
    predicted, *larger = compiler.laid_out[2:]
    expected = int((CHIP.usable - 2**30) / (2**20 * less))
    if less == 0.9:  # nearly full: no further search
        assert not larger and row.largest == predicted
    else:
        assert predicted < larger[0] <= 2 * predicted
        assert 0.96 * expected < row.largest <= expected
    assert row.confirmed is True and row.found <= CHIP.usable
    assert row.predicted > 0.99 * CHIP.usable


def test_row_of_a_search_past_the_largest_batch_goes_back(tmp_path):
    class Humped(FakeCompiler):
        """Saves memory at first, and then needs more."""

        def __call__(self, module, request, **options):
            batch = self.batches.get(request.get("hlo", ""), 0)
            saved = 1.0 if batch <= 11000 else 0.5 if batch <= 16000 else 1.5
            self.each = round(2**20 * saved)
            return super().__call__(module, request, **options)

    compiler = Humped(fixed=2**30, each=2**20)
    row = row_of(compiler, tmp_path)
    assert any(batch > 16000 for batch in compiler.laid_out)
    assert 15000 < row.largest <= 16000
    assert len(compiler.laid_out) <= 2 + survey._MAX_SEARCH_LAYOUTS


def test_row_of_memory_that_does_not_grow_has_a_batch_known_to_fit(tmp_path):
    row = row_of(FakeCompiler(fixed=2**30, each=0), tmp_path)
    assert row.error == "" and row.largest > 32


def test_row_again_compiles_nothing(tmp_path):
    first = row_of(FakeCompiler(2**30, 2**20), tmp_path, confirm=True)
    again = FakeCompiler(2**30, 2**20)
    assert row_of(again, tmp_path, confirm=True) == first
    assert again.compiled == again.laid_out == []


def test_row_of_a_batch_that_does_not_fit_has_a_smaller_one(tmp_path):
    compiler = FakeCompiler(fixed=0, each=2**30)
    row = row_of(compiler, tmp_path)
    assert not row.fits and row.error == ""
    assert row.needed == 32 * 2**30
    assert row.largest == 15
    assert row.batch < 15 and row.flops == pytest.approx(1e9)
    assert "at most 15 fit" in row.lines()[0]


def test_row_of_an_image_that_fills_the_chip_has_batch_one_or_none(tmp_path):
    row = row_of(FakeCompiler(fixed=0, each=9 * 2**30), tmp_path, replica_batch=1)
    assert row.fits and row.largest == 1
    row = row_of(FakeCompiler(fixed=0, each=17 * 2**30), tmp_path / "more", replica_batch=1)
    assert not row.fits and row.largest == 0
    assert "no smaller batch fits" in row.lines()[0]


@pytest.mark.parametrize("program", ["lowering", "compiling"])
def test_row_of_a_crash_has_the_error_and_is_not_cached(tmp_path, program):
    broken = FakeCompiler(2**30, 2**20, breaks={program: "the subprocess was killed by SIGSEGV"})
    row = row_of(broken, tmp_path)
    assert "SIGSEGV" in row.error and not row.fits
    assert "does not compile" in row.lines()[0]
    assert row_of(FakeCompiler(2**30, 2**20), tmp_path).error == ""


def test_row_of_a_failed_compilation_names_the_operation(tmp_path):
    inspection = {**CLEAN, "refused": ["the custom call 'TopK' (loss/TopK)"]}
    compiler = FakeCompiler(
        2**30, 2**20, extra={"refused": "UNIMPLEMENTED", "inspection": inspection}
    )
    row = row_of(compiler, tmp_path)
    assert "UNIMPLEMENTED" in row.error and "TopK" in row.error


def test_row_has_the_problems_of_the_inspection(tmp_path):
    inspection = {**CLEAN, "low_sums": ["reduce (loss/Sum)"]}
    row = row_of(FakeCompiler(2**30, 2**20, extra={"inspection": inspection}), tmp_path)
    assert row.fits and "loss/Sum" in row.problems[0]
    assert any("loss/Sum" in line for line in row.lines())


def test_row_counts_the_operations_of_loops_repeatedly(tmp_path):
    plain = row_of(FakeCompiler(2**30, 2**20), tmp_path / "plain")
    inspection = {**CLEAN, "once": 40}
    looped = row_of(
        FakeCompiler(2**30, 2**20, extra={"inspection": inspection}), tmp_path / "looped"
    )
    assert looped.flops == pytest.approx(2.5 * plain.flops)
    assert looped.flow_ms == pytest.approx(2.5 * plain.flow_ms)
    assert looped.needed == plain.needed


@pytest.mark.parametrize(
    ("batch", "rounded"), [(0.5, 0), (7.9, 7), (9, 8), (11, 10), (1562, 1536), (26, 24)]
)
def test_rounded_keeps_three_binary_digits(batch, rounded):
    assert survey._rounded(batch) == rounded


def test_bfloat16_of_a_recipe_with_automatic_precision_is_true():
    assert recipe_target("unet16_cifar10").bfloat16
