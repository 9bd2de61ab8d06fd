"""A network judged under every protocol, with its page."""

from collections.abc import Mapping
from typing import Any

from tfdeblur.data.dataset import READ_ERRORS, explain_read_error
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.evaluation import SplitEvaluator
from tfdeblur.evaluation.card_page import choose, write_card_page
from tfdeblur.evaluation.full_card import FullCard
from tfdeblur.evaluation.full_pass import FullEvaluator
from tfdeblur.evaluation.networks import Judged
from tfdeblur.evaluation.pictures import spread, write_triples
from tfdeblur.metrics.lpips import Lpips
from tfdeblur.ops import devices

# Evenly spread images whose pictures are kept, so that runs have some in common.
_COMPARED = 4


def judge(
    judged: Judged,
    data: EvaluationData,
    folder: str,
    *,
    crop: tuple[int, int] | None,
    batch_size: int,
    about: Mapping[str, Any],
    pictures: int,
    title: str,
    lpips: Mapping[str, Lpips] | None = None,
) -> tuple[FullCard, str]:
    """Judges a network and writes `card.json`, `card.csv`, `card.html` and some pictures.

    Args:
        judged: The network.
        data: The split.
        folder: Where everything is written.
        crop: Height and width of crops, None for whole images only.
        batch_size: Images at a time.
        about: Where the numbers come from.
        pictures: Best, median and worst pictures on the page, of each.
        title: Heading of the page.
        lpips: Distances with weights, by their key in `tfdeblur.metrics.protocols.MEASURES`.

    Returns:
        The score card and the page's path.

    Raises:
        UserError: Something cannot be written, or the images are too small for a distance.
        DataError: The data cannot be read.
    """
    evaluator = FullEvaluator(judged.states, data, batch_size=batch_size, crop=crop, lpips=lpips)
    about = {**about, "batch_size": batch_size, "device": devices.device_summary()}
    if evaluator.has_crops and crop is not None:
        about["crop"] = f"{crop[1]}x{crop[0]}"
    if judged.tlc_window is not None:
        about["tlc_window"] = judged.tlc_window
    try:
        card = evaluator.run(about=about)
        chosen = choose(card, pictures)
        shown = [index for kind in chosen.values() for index in kind]
        kept = spread(card.images, _COMPARED) if pictures else []
        looker = SplitEvaluator(
            judged.states[card.primary.state], data, batch_size=1, measures=("mse",)
        )
        triples = {triple.index: triple for triple in looker.pictures([*shown, *kept])}
    except READ_ERRORS as error:
        raise explain_read_error(error, [data.path], data.split) or error from error
    # Before the card: a folder with a card is whole.
    write_triples([triples[index] for index in sorted(triples)], folder)
    page = write_card_page(
        card,
        [triples[index] for index in shown],
        folder,
        title=title,
        subtitle=str(about.get("from", "")),
    )
    card.write(folder)
    return card, page
