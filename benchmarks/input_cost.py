"""CPU time that a training sample takes in the input pipeline, for the data of every recipe.

    python -m benchmarks.input_cost            # writes docs/input.json
    python -m tests.helpers.input_table        # writes the table in docs/tpu.md

Generated scenes are stored with the tiles of each recipe's build command, and read as the recipe
does: with its crops, orientations, batch and synthetic blur. They are stored in several ways:

* `PNG`: as the command builds them;
* `raw`: with `--encoding raw`;
* `cut`: raw, and with tiles of the size of the crops, so that nothing is read and cropped away;
* `cached`: as the one before, with `--data.cache on`.

CPU time is that of all threads, so that other load on the machine matters little. Shards are read
from the page cache.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tqdm import tqdm

from tfdeblur import config
from tfdeblur.config import recipes
from tfdeblur.config.fields import Size
from tfdeblur.degradation.degradation import Degradation

OUT = pathlib.Path(__file__).resolve().parents[1] / "docs" / "input.json"

# Scenes of a data set, and the least length of their longer side; small tiles are cut from them.
SCENES, SCENE_SIDE = 24, 256


@dataclasses.dataclass(frozen=True)
class Form:
    """Data of a recipe, and how samples are drawn from them.

    Attributes:
        tile: Size of the stored images.
        crop: Size of the samples.
        turns: Whether samples are rotated.
        batch: Images per update.
        synthesis: A recipe whose blur is synthesized during training; empty if it is stored.
    """

    tile: Size
    crop: Size
    turns: bool
    batch: int
    synthesis: str = ""

    @classmethod
    def of(cls, recipe: str) -> "Form | None":
        """Returns the form of a recipe's data; None if no command builds them."""
        about = recipes.load(recipe)
        if about.source is None:
            return None
        # CIFAR-10's images are not cut.
        sizes = dict(re.findall(r"--(tile|resize) (\S+)", about.about["data"]))
        tile = Size.parse(sizes.get("tile") or sizes.get("resize") or "32x32")
        run = config.resolve({"recipe": recipe, "workdir": "unused"})
        synthesized = run.synthesis != Degradation()
        return cls(
            tile=tile,
            crop=run.data.crop or tile,
            turns=run.data.quarter_turns,
            batch=run.training.global_batch,
            synthesis=recipe if synthesized else "",
        )

    def storages(self) -> Iterator[tuple[str, str, Size, bool]]:
        """Yields name, encoding, tile and `data.cache` of each way to store the data."""
        yield "PNG", "png", self.tile, False
        yield "raw", "raw", self.tile, False
        if self.crop != self.tile:
            yield "cut", "raw", self.crop, False
        yield "cached", "raw", self.crop, True

    @property
    def key(self) -> str:
        """Identifies the form in the file of results."""
        parts = [str(self.tile), str(self.crop), "turns" if self.turns else "", str(self.batch)]
        return " ".join(filter(None, [*parts, self.synthesis]))


def forms(names: Sequence[str]) -> list[Form]:
    """Returns the forms of some recipes' data, each once."""
    return list(dict.fromkeys(filter(None, map(Form.of, names))))


def measure(form: Form, folder: str, seconds: float) -> dict[str, float]:
    """Returns the microseconds of CPU time per sample for each way to store the data.

    Args:
        form: The data.
        folder: Where data sets are built, or found if another form has built them.
        seconds: Duration of each measurement after warm-up.
    """
    from benchmarks.input_pipeline import timed
    from tfdeblur.data.pipeline import TrainingData

    synthesis = None
    if form.synthesis:
        synthesis = config.resolve({"recipe": form.synthesis, "workdir": "unused"}).synthesis
    found = {}
    for name, encoding, tile, cached in form.storages():
        data = config.DataConfig(
            paths=(_scenes(folder, tile, encoding, "none" if synthesis else "gaussian"),),
            crop=form.crop,
            quarter_turns=form.turns,
            cache="on" if cached else "off",
        )
        dataset = TrainingData(data, synthesis=synthesis).dataset(form.batch)
        _, each = timed(dataset, form.batch, seconds)
        found[name] = 1e6 * each
    return found


def _scenes(folder: str, tile: Size, encoding: str, blur: str) -> str:
    """Returns a data set of generated scenes, built if it is not there yet."""
    from data_prep import build

    path = f"{folder}/{tile}-{encoding}-{blur}"
    if not os.path.exists(path):
        times = max(1, SCENE_SIDE // max(tile))
        command = ["scenes", "--out", path, "--encoding", encoding, "--blur", blur]
        command += ["--count", str(SCENES), "--tile", str(tile)]
        command += ["--width", str(times * tile.width), "--height", str(times * tile.height)]
        if build.main(command):
            sys.exit("The scenes could not be built.")
    return path


def _processor() -> str:
    """Returns the name of the processor."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*: (.*)", text)
    return found[1] if found else platform.processor()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, and writes the file of results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", default=str(OUT), help="file of the results")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a measurement")
    parser.add_argument(
        "--recipes", nargs="+", metavar="RECIPE", default=recipes.names(), help="default: all"
    )
    chosen = parser.parse_args(arguments)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for form in forms(chosen.recipes):
            results[form.key] = measure(form, folder, chosen.seconds)
            figures = ", ".join(f"{name} {each:,.0f}" for name, each in results[form.key].items())
            tqdm.write(f"{form.key}: {figures} microseconds of CPU time per sample")
    values = {"processor": _processor(), "microseconds": results}
    pathlib.Path(chosen.out).write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
