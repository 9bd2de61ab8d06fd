"""The report in a real browser: the slider works by mouse and keyboard."""

import json
import re

import numpy as np
import pytest

from tests.helpers.browser import dom_after
from tests.helpers.score_cards import full_card
from tfdeblur.evaluation.evaluator import Triplet
from tfdeblur.evaluation.page import write_page
from tfdeblur.evaluation.scores import FULL_FILES

SCRIPT = """
const said = {errors: []};
window.addEventListener("error", (event) => said.errors.push(event.message));
const article = document.querySelector("article.states");
const range = article.querySelector("input[type=range]");
const [left, right] = article.querySelectorAll("select");
const over = () => article.querySelectorAll(".stack img")[1];
said.start = over().style.clipPath;
range.value = 20;
range.dispatchEvent(new Event("input"));
said.moved = over().style.clipPath;
said.spoken = range.getAttribute("aria-valuetext");
const { left: start, width } = article.querySelector(".stack").getBoundingClientRect();
const place = { clientX: start + width / 4, buttons: 1, bubbles: true };
over().dispatchEvent(new PointerEvent("pointermove", place));
said.dragged = over().style.clipPath;
const drag = new DragEvent("dragstart", { bubbles: true, cancelable: true });
said.free = over().dispatchEvent(drag);
left.value = "2";
left.dispatchEvent(new Event("change"));
said.over = over().alt;
said.under = article.querySelector(".stack img").alt;
said.kept = over().style.clipPath;
said.named = [range, left, right].every((control) => control.getAttribute("aria-label"));
range.focus();
said.focus = document.activeElement === range;
document.documentElement.dataset.said = JSON.stringify(said);
"""


@pytest.mark.slow
def test_slider_of_a_page_opened_as_a_file_works(tmp_path):
    image = np.full((30, 40, 3), 90, np.uint8)
    triplet = Triplet(1, image, image, image, "scene", "7")
    card = full_card([1.0, -2.0, 3.0])
    page = write_page(card, [triplet], str(tmp_path), FULL_FILES, title="t")
    dom = dom_after(page, SCRIPT, tmp_path)
    said = json.loads(re.search(r'data-said="([^"]*)"', dom)[1].replace("&quot;", '"'))
    assert said.pop("errors") == []
    assert said["start"] == "inset(0px 50% 0px 0px)"
    assert said["moved"] == "inset(0px 80% 0px 0px)"
    assert said["dragged"] == said["kept"] == "inset(0px 75% 0px 0px)"
    # The browser must not drag the image itself.
    assert said["free"] is False
    assert said["spoken"].startswith("20% blurred") and "80% restored" in said["spoken"]
    assert said["over"].startswith("sharp") and said["under"].startswith("restored")
    assert said["named"] and said["focus"]
    assert dom.count('class="slider"') == 1 and dom.count("<svg") > 5
