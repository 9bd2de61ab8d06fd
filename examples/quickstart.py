"""The whole workflow in one program, on a CPU: data, training, evaluation, export, restoration.

    python examples/quickstart.py --out quickstart

Each step calls the function behind a command, as a notebook would. Running it again resumes where
it stopped and skips finished steps.
"""

import dataclasses
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

import tfdeblur
from data_prep import build
from tfdeblur import cli, config, deblur, evaluate, export, presets, train
from tfdeblur.config.settings import validate
from tfdeblur.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from tfdeblur.evaluation.scores import ScoreCard

# Photographs in the wheel of scikit-image; its others need a download.
TRAINING_PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "page.png",
    "rocket.jpg",
    "text.png",
)
HELD_OUT_PHOTOS = ("chelsea.png", "coffee.png")

BLUR: dict[str, Any] = {"blur": "gaussian", "min_sigma": 1.0, "max_sigma": 2.5}

# The strip of images: number of scenes, side of an image in pixels, and positions (top, left) of
# the squares cut out of the held-out photographs.
SCENE_ROWS = 2
SIDE = 128
CORNERS = {"chelsea.png": (86, 152), "coffee.png": (36, 330)}


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One row of the strip; each image is uint8 [SIDE, SIDE, 3]."""

    blurred: "np.ndarray"
    restored: "np.ndarray"
    sharp: "np.ndarray"

    def psnr_db(self, picture: "np.ndarray") -> float:
        """Returns the PSNR of an image against the sharp one, for this square only."""
        import numpy as np

        error = np.mean(np.square(picture.astype(np.float64) - self.sharp))
        return float(10 * np.log10(255.0**2 / error))


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Settings of the quickstart."""

    out: Annotated[str, Field(min_length=1)] = "quickstart"
    """folder for all files"""
    scenes: Annotated[int, Field(ge=8)] = 96
    """generated scenes in all splits"""
    images: Annotated[int | None, Field(ge=1)] = None
    """training images; those of the recipe if unset"""


@dataclasses.dataclass(frozen=True)
class QuickstartResult:
    """Paths and scores.

    Attributes:
        places: Paths by description.
        cards: Score card of each test set.
    """

    places: dict[str, str]
    cards: "dict[str, ScoreCard]"

    @property
    def better(self) -> bool:
        """Whether restored images beat blurred ones on every test set, in every metric."""
        return not any(card.worse_than_input() for card in self.cards.values())


def run(settings: QuickstartConfig) -> QuickstartResult:
    """Runs all steps."""
    out = pathlib.Path(settings.out)
    photos, blurred = collect_photos(out / "photos"), out / "blurred"
    blur_photos(photos, blurred)

    say(f"Photographs restored with the preset {presets.DEFAULT}")
    places = {"photographs, blurred": str(blurred)}
    places["restored with the preset"] = restore_photos(blurred, out / "restored-preset")

    say("Data: photographs and generated scenes, blurred and cut into tiles")
    data = build_data(out, photos, settings.scenes)

    say("Training")
    workdir = str(out / "run")
    layer: dict[str, Any] = {
        "recipe": "quickstart",
        "workdir": workdir,
        "data": {"paths": list(data.values())},
    }
    if settings.images is not None:
        layer["training"] = {"duration": settings.images}
    print(train.run(config.resolve(layer)))

    places["images of the training's progress"] = str(out / "run" / "index.html")
    cards = {}
    for name, folder in data.items():
        say(f"Evaluation on held-out {name}")
        result = evaluate.run(evaluate.EvaluateConfig(workdir=workdir, data=folder))
        print(result.card.table())
        cards[name], places[f"report on {name}"] = result.card, result.report

    say("Export: a SavedModel, and photographs restored with it")
    model = export.run(export.ExportConfig(workdir=workdir, out=str(out / "saved_model"))).path
    restored, strip = out / "restored", out / "before_and_after.png"
    restore_photos(blurred, restored, model)
    rows = scene_rows(workdir, data["scenes"], SCENE_ROWS)
    draw_strip([*rows, *photo_rows(photos, blurred, restored)], strip)
    places |= {
        "SavedModel": model,
        "restored with the SavedModel": str(restored),
        "before and after": str(strip),
    }
    return QuickstartResult(places, cards)


def say(heading: str) -> None:
    """Prints a heading."""
    print(f"\n== {heading}", flush=True)


def collect_photos(folder: pathlib.Path) -> pathlib.Path:
    """Copies the photographs from the wheel of scikit-image; returns their folder."""
    try:
        import skimage
    except ImportError as error:
        raise UserError(
            "The quickstart trains on photographs that ship with scikit-image: "
            "pip install -e '.[cpu,quickstart]'."
        ) from error
    source = pathlib.Path(skimage.__file__).parent / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*TRAINING_PHOTOS, *HELD_OUT_PHOTOS):
        if not (folder / name).exists():
            shutil.copyfile(source / name, folder / name)
    return folder


def build_data(out: pathlib.Path, photos: pathlib.Path, scenes: int) -> dict[str, str]:
    """Builds both data sets, unless they exist; returns their folders by name."""
    # Training validates on the first data set with a validation split.
    built = {"scenes": str(out / "data" / "scenes"), "photos": str(out / "data" / "photos")}
    build_one(
        "sharp",
        out=built["photos"],
        source=str(photos),
        # Overlapping tiles, and each photograph with several blurs.
        copies=4,
        stride="48x48",
        test_tile="96x96",
        # Photographs are few: all others are for training, and generated scenes for validation.
        val_share=0.0,
        test_scenes=tuple(pathlib.Path(name).stem for name in HELD_OUT_PHOTOS),
    )
    build_one("scenes", out=built["scenes"], count=scenes, width=192, height=192)
    return built


def build_one(dataset: str, **options: Any) -> None:
    """Runs one build, with the validation of options of the command."""
    tree = {**options, **BLUR, "tile": "64x64", "encoding": "raw"}
    build.run(validate(build.config_class(dataset), tree))


def blur_photos(photos: pathlib.Path, blurred: pathlib.Path) -> None:
    """Blurs the whole held-out photographs as in the test data, with other random draws."""
    from data_prep.blur import Blur, item_rng
    from data_prep.images import load_rgb
    from data_prep.sources import sharp

    blur = Blur(sharp.Options(source=str(photos), **BLUR))
    blurred.mkdir(exist_ok=True)
    for name in HELD_OUT_PHOTOS:
        picture = blur.apply(load_rgb(str(photos / name)), item_rng(1, name))
        write_png(blurred / name, picture)


def restore_photos(
    blurred: pathlib.Path, restored: pathlib.Path, model: str = presets.DEFAULT
) -> str:
    """Restores a folder of photographs; returns the folder of the restored ones."""
    photos, out = (str(blurred),), str(restored)
    deblur.run(deblur.DeblurConfig(photos=photos, out=out, model=model, overwrite=True))
    return out


def photo_rows(photos: pathlib.Path, blurred: pathlib.Path, restored: pathlib.Path) -> list[Row]:
    """Cuts one square out of each held-out photograph: blurred, restored and sharp."""
    from data_prep.images import load_rgb

    rows = []
    for name in HELD_OUT_PHOTOS:
        top, left = CORNERS[name]
        square = (slice(top, top + SIDE), slice(left, left + SIDE))
        whole = (load_rgb(str(folder / name)) for folder in (blurred, restored, photos))
        rows.append(Row(*(picture[square] for picture in whole)))
    return rows


def scene_rows(workdir: str, data: str, count: int) -> list[Row]:
    """Restores the first scenes of the test split, as a notebook would."""
    from tfdeblur.data.evaluation import EvaluationData

    batch = next(iter(EvaluationData(data, "test", limit=count).dataset(count)))
    blurred, sharp = batch["blurred"].numpy(), batch["sharp"].numpy()
    restored = tfdeblur.load(workdir).deblur(blurred)
    return [
        Row(*(pictures[index][:SIDE, :SIDE] for pictures in (blurred, restored, sharp)))
        for index in range(count)
    ]


def draw_strip(rows: Sequence[Row], path: pathlib.Path) -> None:
    """Draws a strip with one line per row, with the PSNR before and after."""
    from matplotlib.figure import Figure

    # Each image at twice its size, without interpolation, below a line of text.
    side, gap, text, dpi = 2 * SIDE, 6, 24, 100
    width, height = 3 * side + 2 * gap, len(rows) * (side + text)
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    for line, row in enumerate(rows):
        bottom = height - (line + 1) * (side + text)
        pictures = {
            f"blurred, {row.psnr_db(row.blurred):.1f} dB": row.blurred,
            f"restored, {row.psnr_db(row.restored):.1f} dB": row.restored,
            "sharp": row.sharp,
        }
        for column, (title, picture) in enumerate(pictures.items()):
            left = column * (side + gap)
            axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(title, fontsize=10, pad=5)
            axes.set_axis_off()
    figure.savefig(path, dpi=dpi)


def write_png(path: pathlib.Path, picture: "np.ndarray") -> None:
    """Writes a uint8 image."""
    from PIL import Image

    Image.fromarray(picture).save(path)


def report(settings: QuickstartConfig) -> int:
    """Runs all steps and prints all paths; returns 1 if the network does not help."""
    result = run(settings)
    say("Paths")
    width = max(map(len, result.places))
    for name, place in result.places.items():
        print(f"{name:<{width}}  {place}")
    print()
    for name, card in result.cards.items():
        before, after = card.rows["blurred"], card.rows["restored"]
        print(
            f"held-out {name}: {before['psnr_db']:.2f} dB blurred, {after['psnr_db']:.2f} dB "
            f"restored (SSIM {before['ssim']:.3f}, {after['ssim']:.3f})"
        )
    if not result.better:
        print("error: the restored images are not better than the blurred ones.", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code."""
    return cli.run_command(
        QuickstartConfig,
        report,
        argv,
        prog="python examples/quickstart.py",
        description="Builds data, trains for a few minutes, evaluates, exports and restores.",
    )


if __name__ == "__main__":
    sys.exit(main())
