"""Model cards and the table of presets, from the facts in ``preset.yaml``."""

import textwrap
from collections.abc import Sequence

import yaml

from tfdeblur.presets.preset import Preset, Scores

# Columns of the metrics: title, factor and decimals, as in the output of tfdeblur.evaluate.
_COLUMNS = {
    "psnr_db": ("PSNR dB", 1, 2),
    "ssim": ("SSIM", 1, 4),
    "mse": ("MSE e-3", 1e3, 3),
    "mae": ("MAE e-2", 1e2, 3),
    "log_cosh": ("LogCosh e-4", 1e4, 2),
}
_WIDTH = 120

CARD_BEGINS = "<!-- card -->"


def card(preset: Preset) -> str:
    """Returns the model card as Markdown, with the metadata that model hubs read at its top."""
    metadata = {
        **({"license": preset.license.lower()} if preset.license else {}),
        "library_name": "tfdeblur",
        "pipeline_tag": "image-to-image",
        "tags": ["deblurring", "image-restoration", "keras"],
    }
    name, training, weights = preset.name, preset.training, preset.weights
    options = {key: value for key, value in preset.model.items() if key != "name"}
    plain = yaml.safe_dump(options, default_flow_style=True, sort_keys=False).strip("{}\n")
    facts = {
        "Network": f"`{preset.model['name']}`, {plain}; {weights.parameters:,} parameters",
        "Blur": training.blur,
        "Trained on": training.data,
        "Images seen": seen(preset) + (" (averaged weights)" if training.averaged else ""),
        "Device": training.device + (f", {training.hours:g} hours" if training.hours else ""),
        "Weights": f"version {preset.version}, {weights.precision}, {megabytes(preset)}, SHA-256 "
        f"`{weights.sha256}`",
        "License": preset.license or "not stated",
        "Terms of the data": preset.terms,
    }
    parts = [
        f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n{CARD_BEGINS}\n# {name}",
        _wrapped(preset.about),
        "\n".join(_wrapped(f"- **{title}:** {fact}") for title, fact in facts.items() if fact),
        "## Use",
        f"```bash\npython -m tfdeblur.deblur photo.png --model {name} -o restored\n```",
        f'```python\nimport tfdeblur\n\nsharp = tfdeblur.load("{name}").deblur(blurred)\n```',
    ]
    for scores in preset.scores:
        parts.append(f"## Scores: {scores.data}, {scores.images:,} images")
        parts += [_table(scores), _wrapped(scores.protocol)]
    if training.command:
        parts += ["## Training", f"```bash\n{training.command.strip()}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _wrapped(text: str) -> str:
    hanging = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, _WIDTH, subsequent_indent=hanging, break_on_hyphens=False)


def seen(preset: Preset) -> str:
    """Returns how many images the network has seen, and of how many."""
    images, of = preset.training.images, preset.training.of
    if of is None or images >= of:
        return f"{images:,}"
    return f"{images:,} of {of:,}, so far"


def megabytes(preset: Preset) -> str:
    """Returns the size of the weights."""
    return f"{preset.weights.bytes / 1e6:.1f} MB"


def _table(scores: Scores) -> str:
    keys = [key for key in _COLUMNS if key in scores.restored]
    lines = [["", *(_COLUMNS[key][0] for key in keys)], ["---"] * (len(keys) + 1)]
    for row, values in (("blurred", scores.blurred), ("restored", scores.restored)):
        lines.append([row, *(_text(key, values[key]) for key in keys)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(key: str, value: float) -> str:
    _, factor, decimals = _COLUMNS[key]
    return f"{factor * value:.{decimals}f}"


def table(presets: Sequence[Preset]) -> str:
    """Returns the presets with their scores as aligned text, one line for each split."""
    lines = [["preset", "network", "size", "images seen", "scored on", "PSNR dB", "SSIM"]]
    for preset in presets:
        for scores in preset.scores or (None,):
            line = [preset.name, str(preset.model["name"]), megabytes(preset), seen(preset)]
            line += [scores.data if scores else "not measured"]
            for key in ("psnr_db", "ssim"):
                rows = (scores.blurred, scores.restored) if scores else ()
                line.append(" -> ".join(_text(key, row[key]) for row in rows if key in row))
            lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    about = [f"{preset.name}: {preset.about}" for preset in presets if preset.about]
    return "\n".join([padded[0], "-" * len(padded[0]), *padded[1:], "", *about])
