"""Batch sizes that are compiled, and what is concluded, with programs that only pretend."""

import pytest

from tfdeblur.preflighting import compiling, survey
from tfdeblur.preflighting.cache import Cache
from tfdeblur.preflighting.chips import CHIPS
from tfdeblur.preflighting.survey import Surveyor
from tfdeblur.preflighting.targets import recipe_target
from tfdeblur.programs import Answer

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
        seconds: Of a compilation.
        breaks: Modules (by the end of their name) that answer with an error.
    """

    def __init__(self, fixed, each, breaks=None, remark=None):
        self.fixed, self.each = fixed, each
        self.breaks = breaks or {}
        self.remark = remark or {}
        self.compiled = []
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
        self.compiled.append(batch)
        needed = self.fixed + self.each * batch
        common = {"inspection": CLEAN, "seconds": 1.0, **MADE_BY, **self.remark}
        if needed > CHIP.usable:
            room = {"needed": needed, "limit": CHIP.usable}
            return Answer({**common, "refused": "no room", "no_room": True, **room})
        memory = {"arguments": self.fixed, "outputs": 0, "aliased": 0, "code": 0}
        memory["temporaries"] = self.each * batch
        return Answer({**common, "memory": memory, "flops": 1e9 * batch, "bytes_accessed": 1e9})


@pytest.fixture(autouse=True)
def same_versions(monkeypatch):
    monkeypatch.setattr(compiling, "versions", lambda: MADE_BY)


def row_of(pretender, folder, *, name="unet16_cifar10", confirm=False, **options):
    with Surveyor(Cache(str(folder)), seconds=9, ask=pretender) as surveyor:
        return surveyor.row(recipe_target(name, **options), CHIP, confirm=confirm)


def test_the_largest_batch_follows_from_two_compilations(tmp_path):
    pretender = Pretender(fixed=2**30, each=2**20)
    row = row_of(pretender, tmp_path)
    assert pretender.compiled == [32, int(0.7 * CHIP.usable - 2**30) // 2**20]
    assert row.fits and row.error == ""
    assert row.largest == (CHIP.usable - 2**30) // 2**20
    assert row.confirmed is None
    assert row.needed == 2**30 + 32 * 2**20
    assert row.flops == pytest.approx(1e9)
    assert row.most_images == pytest.approx(1e3 * 32 / row.least_ms)
    assert row.share == pytest.approx(0.99)
    assert row.versions["libtpu"] == "0.0.52"


def test_confirming_compiles_the_largest(tmp_path):
    pretender = Pretender(fixed=2**30, each=2**20)
    row = row_of(pretender, tmp_path, confirm=True)
    assert pretender.compiled[0] == 32 and pretender.compiled[2:] == [row.largest]
    assert row.confirmed is True
    assert row.found == pytest.approx(row.predicted)


def test_a_largest_batch_that_does_not_fit_is_made_smaller(tmp_path):
    class Bent(Pretender):
        """Needs a tenth more than the line says where the memory is nearly full."""

        def __call__(self, module, request, **options):
            large = self.batches.get(request.get("hlo", ""), 0) > 12000
            self.each = round(2**20 * (1.1 if large else 1.0))
            return super().__call__(module, request, **options)

    pretender = Bent(fixed=2**30, each=2**20)
    row = row_of(pretender, tmp_path, confirm=True)
    foretold, *_, last = pretender.compiled[2:]
    assert last < foretold and row.largest == last
    assert row.confirmed is True and row.found <= CHIP.usable


def test_a_second_run_compiles_nothing(tmp_path):
    first = row_of(Pretender(2**30, 2**20), tmp_path, confirm=True)
    again = Pretender(2**30, 2**20)
    assert row_of(again, tmp_path, confirm=True) == first
    assert again.compiled == []


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


def test_precision_of_a_target():
    assert survey.target_is_low(recipe_target("unet16_cifar10"))
