"""The page of a real server in a real browser: a photo is dropped, restored and shown."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers.browser import dom_after, require_browser
from tests.tfdeblur.serve.processes import serving
from tfdeblur.inference.restorer import load_restorer

pytest.importorskip("starlette", reason="Starlette (extra `serve`) is not installed")
pytest.importorskip("uvicorn", reason="uvicorn (extra `serve`) is not installed")

MODEL = "unet16-cifar10"

SCRIPT = """
const said = { errors: [], title: document.title };
window.addEventListener("error", (event) => said.errors.push(event.message));
const finished = async () => {
  while (running) await new Promise((resolve) => setTimeout(resolve, 50));
  return { text: by("message").textContent, kind: by("message").dataset.kind };
};
const pixels = async () => {
  const content = await (await fetch(by("download").href)).arrayBuffer();
  return btoa(String.fromCharCode(...new Uint8Array(content)));
};
const dropped = (base64, place) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "photo.png", { type: "image/png" }));
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  place.dispatchEvent(new DragEvent("drop", options));
};
const loaded = (image) => image.complete || new Promise((resolve) => {
  image.onload = image.onerror = resolve;
});
(async () => {
  dropped("@SMALL@", by("drop"));
  said.busy = running !== null && !by("busy").hidden;
  said.first = await finished();
  if (!by("result").hidden) {
    const images = [by("before"), by("after")];
    await Promise.all(images.map(loaded));
    said.sizes = images.map((image) => [image.naturalWidth, image.naturalHeight]);
    said.places = images.map((image) => {
      const { left, top, width, height } = image.getBoundingClientRect();
      return [left, top, width, height];
    });
    said.wide = document.documentElement.scrollWidth > innerWidth;
    said.download = by("download").download;
    said.after = await pixels();
    by("ensemble").click();
    by("tile").value = "128";
    said.changed = by("message").textContent;
    by("again").click();
    said.again = await finished();
    said.averaged = await pixels();
  }
  dropped("@LARGE@", document.body);
  said.second = await finished();
  said.shown = !by("result").hidden;
  document.documentElement.dataset.said = JSON.stringify(said);
})();
"""


def difference(encoded, expected):
    """Returns the largest difference of a PNG in base64 from other pixels."""
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded)))).astype(int)
    return np.abs(shown - expected).max()


def png(height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return pixels, base64.b64encode(content.getvalue()).decode()


@pytest.mark.slow
def test_dropped_photo_is_restored_and_shown_and_one_that_is_too_large_is_refused(
    tmp_path, repository
):
    require_browser()
    pixels, small = png(24, 32)
    _, large = png(40, 50)
    script = SCRIPT.replace("@SMALL@", small).replace("@LARGE@", large)
    flags = ["--model", MODEL, "--max-pixels", "1000"]
    with serving("tfdeblur.demo", tmp_path, repository, *flags) as server:
        dom = dom_after(f"http://127.0.0.1:{server.port}/", script, tmp_path)
    said = json.loads(html.unescape(re.search(r'data-said="([^"]*)"', dom)[1]))
    assert said["errors"] == [] and MODEL in said["title"]
    assert said["busy"] is True
    assert said["first"]["text"].startswith("Restored in") and said["first"]["kind"] == ""
    assert said["sizes"] == [[32, 24]] * 2
    # One lies over the other.
    before, after = said["places"]
    assert before == pytest.approx(after, abs=1) and min(after[2:]) > 0
    assert said["wide"] is False
    assert said["download"] == "photo-restored.png"
    assert difference(said["after"], pixels) > 10
    restorer = load_restorer(MODEL)
    plain, averaged = restorer.deblur(pixels), restorer.deblur(pixels, ensemble=True)
    assert difference(said["after"], plain) <= 1
    assert "again" in said["changed"] and said["again"]["text"].startswith("Restored in")
    assert difference(said["averaged"], averaged) <= 1 < difference(said["after"], averaged)
    assert said["second"]["kind"] == "error" and said["shown"] is False
    assert "50x40" in said["second"]["text"] and "1,000" in said["second"]["text"]
