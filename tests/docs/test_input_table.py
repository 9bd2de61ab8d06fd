"""The table of what two cores feed in docs/tpu.md is that of docs/input.json and the preflight."""

import pytest

from benchmarks import input_cost
from benchmarks.input_cost import Form
from tests.helpers import input_table
from tests.tfdeblur.tpu.test_table import row
from tfdeblur.config import recipes
from tfdeblur.config.fields import Size


def test_page_contains_the_table(repository):
    page = (repository / input_table.PAGE).read_text(encoding="utf-8")
    assert page.count(input_table.BEGIN) == page.count(input_table.END) == 1
    assert input_table.with_table(page) == page


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("unet16_cifar10_fast", Form(Size(32, 32), Size(32, 32), False, 64)),
        ("rednet30_reds", Form(Size(96, 128), Size(96, 128), False, 256)),
        ("deblurgan_study_gp", Form(Size(256, 256), Size(256, 256), False, 4)),
        ("restormer_gopro", Form(Size(512, 512), Size(128, 128), True, 64)),
        ("nafnet16_photo", Form(Size(320, 320), Size(192, 192), True, 4, "nafnet16_photo")),
        ("quickstart", None),
    ],
)
def test_form_is_that_of_the_recipe_and_its_build_command(name, form):
    assert Form.of(name) == form


def test_table_names_the_first_way_that_feeds_a_chip():
    ways = {"PNG": 1000.0, "raw": 200.0, "cut": 100.0, "cached": 125.0}
    measured = {form.key: ways for form in input_cost.forms(recipes.names())}
    rows = [
        # By the chip: 2,000, 12,000 and 40,000 images/s.
        row(name="deblurgan_v2", tpu="v5e-8", devices=2, most_images=4e3),
        row(name="restormer_gopro", tpu="v5e-8", devices=8, most_images=96e3),
        row(name="nafnet32_gopro", tpu="v5e-8", devices=8, most_images=8.0),
        row(name="nafnet32_gopro", tpu="v5e-1", devices=1, most_images=40e3),
        row(name="mimo_unet_gopro", tpu="v6e-8", devices=4, most_images=96e3),
    ]
    lines = input_table.table(measured, rows).splitlines()
    cells = {line.split("`")[1]: line for line in lines[2:]}
    rates = "2,000 | 10,000 | 20,000 | 16,000"
    start = "| `deblurgan_v2` | 256x256 of 640x360 | 1"
    assert cells["deblurgan_v2"] == f"{start} | {rates} | 2,000 | PNG |"
    assert cells["restormer_gopro"].endswith(f"| 64 | {rates} | 12,000 | cut |")
    assert cells["nafnet32_gopro"].endswith(f"| 32 | {rates} | 40,000 | cut: 50% |")
    assert cells["fftformer_gopro"].endswith(f"| 64 | {rates} | | |")
    # `mimo_unet_gopro`, of which no v5e row is there, is one of the recipes that share this line.
    (others,) = [line for line in lines if "| 256x256 of 640x360 | 4 |" in line]
    assert others.startswith("| `deblurgan_pro_mimo_fft` and 11 more |")
    assert "mimo_unet_gopro" not in cells and "quickstart" not in cells


@pytest.mark.slow
def test_benchmark_measures_every_way(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(input_cost, "SCENES", 8)
    monkeypatch.setattr("benchmarks.input_pipeline.WARM_UP_SECONDS", 0.1)
    monkeypatch.setattr("benchmarks.input_pipeline.WARM_UP_IMAGES", 1)
    out = tmp_path / "input.json"
    words = ["--out", str(out), "--seconds", "0.1", "--recipes"]
    assert input_cost.main([*words, "msdeblurwgan_reds", "rednet30wgan_cifar10_fast"]) == 0
    found = input_cost.json.loads(out.read_text("utf-8"))
    assert found["processor"]
    assert list(found["microseconds"]) == ["64x48 64x48 256", "32x32 32x32 16"]
    for each in found["microseconds"].values():
        assert list(each) == ["PNG", "raw", "cached"] and min(each.values()) > 0
