"""Rows and the search for the largest batch, with fake subprocesses."""

import dataclasses
import math

import pytest

from tfdeblur.io.subprocesses import Reply
from tfdeblur.tpu.chips import parse
from tfdeblur.tpu.survey import Surveyor
from tfdeblur.tpu.targets import recipe_target

MIB = 2**20
V5E_8 = parse("v5e-8")
USABLE = V5E_8.chip.usable
COUNTED = {"multiplications": {"bfloat16": 99, "float32": 1}, "once": 50}
VERSIONS = {"jax": "0.10.2", "jaxlib": "0.10.2", "libtpu": "0.0.52", "keras": "3.15.1"}


class FakeCompiler:
    """Replies as the subprocesses would for a step of known memory.

    Args:
        fixed: Bytes of weights.
        each: Bytes of one image of a device.
        error: Error of the subprocess.
        extra: Values that are added to the reply.
    """

    def __init__(self, fixed=MIB, each=MIB, error="", **extra):
        self.fixed, self.each, self.error, self.extra = fixed, each, error, extra
        self.requests = []

    @property
    def batches(self):
        return [request["config"]["training"]["global_batch"] for _, request in self.requests]

    def __call__(self, module, request, *, seconds, environment):
        program = module.rpartition(".")[2]
        if self.error:
            return Reply({}, self.error)
        if program == "compiling":
            assert environment["JAX_PLATFORMS"] == "cpu"
            return Reply({**self.compiled(1), **VERSIONS})
        self.requests.append((program, request))
        batch = request["config"]["training"]["global_batch"]
        about = {"images": batch, "parameters": 7}
        if program == "lowering":
            assert environment["KERAS_BACKEND"] == "tensorflow"
            return Reply({**about, "tensorflow": "2.21.0"})
        assert environment["KERAS_BACKEND"] == "jax" and environment["JAX_PLATFORMS"] == "cpu"
        devices = request["devices"]
        about |= {"devices": devices, "counted": COUNTED, "sent": {"all-reduce f32": 1e6}}
        return Reply({**VERSIONS, **about, **self.compiled(batch // devices), **self.extra})

    def compiled(self, share):
        needed = self.fixed + self.each * share
        if needed > USABLE:
            return {"refused": "no room", "no_room": True, "needed": needed, "seconds": 1.0}
        memory = {"arguments": self.fixed, "outputs": self.fixed, "aliased": self.fixed}
        memory |= {"temporaries": self.each * share, "code": 0}
        return {"memory": memory, "flops": 1e9 * share, "bytes_accessed": 1e6, "seconds": 1.0}


def row_of(compiler, *, engine="jax", largest=False, **options):
    surveyor = Surveyor("cache", engine=engine, seconds=9, call=compiler)
    return surveyor.row(recipe_target("unet16_cifar10", **options), V5E_8, largest=largest)


def test_devices_are_those_that_share_the_batches_of_all_stages():
    compiler = FakeCompiler()
    target = recipe_target("restormer_gopro")
    assert (target.shared, target.batch) == (8, 64)
    Surveyor("cache", engine="jax", seconds=9, call=compiler).row(target, parse("v5e-16"))
    ((_, request),) = compiler.requests
    assert request["devices"] == 8


def test_row_has_the_figures_of_a_chip():
    row = row_of(FakeCompiler())
    assert row.fits and row.error == "" and row.problems == ()
    assert (row.batch, row.devices, row.images, row.largest) == (256, 8, 256, None)
    assert row.needed == MIB + 32 * MIB
    # Loops are repeated: 100 multiplications, of which XLA counts 50.
    assert row.flops == pytest.approx(2e9)
    assert row.share == pytest.approx(0.99)
    chip = V5E_8.chip
    assert row.least_ms == pytest.approx(
        {
            "compute": 1e3 * 64e9 / chip.peak,
            "memory": 1e3 * 2 * MIB / chip.bandwidth,
            "links": 1e3 * 1e6 / chip.links,
        }
    )
    assert row.least[0] == "compute"
    assert row.most_images == pytest.approx(1e3 * 256 / row.least[1])
    assert row.versions == VERSIONS


def test_row_names_idle_chips(capsys):
    row = row_of(FakeCompiler(), global_batch=6)
    assert (row.devices, row.attached) == (6, 8)
    assert "2 of 8 devices stay idle" in capsys.readouterr().out


def test_row_of_sums_over_chips_in_bfloat16_has_a_problem():
    row = row_of(FakeCompiler(sent={"all-reduce bf16": 1e6}))
    assert row.fits and len(row.problems) == 1


def test_row_of_a_step_that_does_not_fit_has_the_memory():
    row = row_of(FakeCompiler(each=2**30))
    assert not row.fits and row.error == ""
    assert row.needed == 32 * 2**30 + MIB
    assert "32.00 GiB of 15.75 GiB" in "".join(row.lines())


def test_row_of_a_compiler_error_has_its_words_and_versions():
    row = row_of(FakeCompiler(refused="UNIMPLEMENTED: no such op"))
    assert not row.fits
    assert "UNIMPLEMENTED: no such op" in row.error
    assert "libtpu 0.0.52" in row.lines()[0]


def test_row_of_a_crash_has_its_error():
    row = row_of(FakeCompiler(error="timed out after 9 s"), largest=True)
    assert row.error == "timed out after 9 s" and not row.fits
    assert row.lines()


@pytest.mark.parametrize("each", [MIB, 3 * MIB, 100 * MIB])
def test_largest_is_found_by_doubling_and_bisecting(each):
    compiler = FakeCompiler(each=each)
    row = row_of(compiler, largest=True)
    best = (USABLE - MIB) // each * 8
    assert 0.8 * best < row.largest <= best
    assert row.largest % 8 == 0
    assert len(compiler.requests) <= 8
    assert row.batch == 256


def test_largest_of_a_step_that_does_not_fit_is_smaller():
    compiler = FakeCompiler(each=2**30)
    row = row_of(compiler, largest=True)
    assert not row.fits and row.largest == 8 * 15
    none = row_of(FakeCompiler(each=2**34), largest=True)
    assert none.largest == 0


def test_largest_ends_if_memory_does_not_grow():
    compiler = FakeCompiler(each=0)
    assert row_of(compiler, largest=True).largest > 256
    assert len(compiler.requests) < 30


def test_largest_keeps_the_number_of_micro_batches():
    compiler = FakeCompiler()
    target = recipe_target("unet16_cifar10")
    own = dataclasses.replace(target.run_config.training, replica_batch=8)
    target = dataclasses.replace(
        target, run_config=dataclasses.replace(target.run_config, training=own)
    )
    Surveyor("cache", seconds=9, call=compiler).row(target, V5E_8, largest=True)
    for _, request in compiler.requests:
        training = request["config"]["training"]
        assert training["global_batch"] == 8 * 4 * training["replica_batch"]


def test_row_of_tensorflow_is_that_of_one_replica():
    compiler = FakeCompiler()
    row = row_of(compiler, engine="tensorflow")
    assert compiler.batches == [32]
    assert (row.engine, row.batch, row.images, row.devices) == ("tensorflow", 256, 256, 8)
    assert row.fits and row.sent is None and row.share is None
    assert set(row.least_ms) == {"compute", "memory"}
    assert row.versions["tensorflow"] == "2.21.0"
    assert math.isfinite(row.most_images)
