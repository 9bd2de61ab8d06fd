"""The page to try a network: served by the server, and working in a browser."""

import html
import json
import re

import numpy as np
import pytest

from tests.helpers.asgi import Client
from tests.helpers.browser import dom_after
from tfdeblur.demo import __main__ as demo
from tfdeblur.serve import app

PARTS = ("file", "options", "ensemble", "tile", "format", "again", "message", "busy", "download")
PICTURES = ("result", "stack", "before", "after", "edge", "range")


def test_page_has_all_parts_and_names_the_network():
    text = demo.page("<unet>")
    assert "&lt;unet&gt;" in text and "<unet>" not in text and "@MODEL@" not in text
    for part in (*PARTS, *PICTURES):
        assert text.count(f'id="{part}"') == 1
    # It loads nothing from elsewhere.
    assert not re.search(r"(?:src|href)\s*=\s*[\"']|https?://", text)


def test_options_of_the_page_are_those_of_the_server():
    text = demo.page("m")
    tiles = re.search(r'id="tile">(.*?)</select>', text, re.DOTALL)[1]
    assert [int(n) for n in re.findall(r"<option>(\d+)", tiles)] == list(app.TILES)
    formats = re.search(r'id="format">(.*?)</select>', text, re.DOTALL)[1]
    assert re.findall(r"<option>(\w+)", formats) == list(app.FORMATS)


def test_server_with_a_page_shows_it():
    pytest.importorskip("starlette", reason="Starlette (extra `serve`) is not installed")
    with Client(app.create_app(lambda x, options: x, name="m", page=demo.page("m"))) as client:
        answer = client.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert answer.text == demo.page("m")


SCRIPT = """
const said = { errors: [], calls: [] };
window.addEventListener("error", (event) => said.errors.push(event.message));
window.fetch = async (address, options) => {
  said.calls.push([address, options.method, options.body.size]);
  if (said.calls.length === 2) {
    return new Response('{"error": "too large"}', { status: 413 });
  }
  return new Response(new Blob(["restored"]), { status: 200 });
};
(async () => {
  by("ensemble").checked = true;
  by("tile").value = "256";
  by("format").value = "webp";
  photo = new Blob(["photo"]);
  await restore();
  said.first = by("message").textContent;
  said.shown = !by("result").hidden && by("after").src.startsWith("blob:");
  said.download = by("download").download;
  said.start = by("before").style.clipPath;
  by("range").value = 20;
  by("range").dispatchEvent(new Event("input"));
  said.moved = by("before").style.clipPath;
  const { left, width } = by("stack").getBoundingClientRect();
  const place = { clientX: left + width / 4, buttons: 1, bubbles: true };
  by("after").dispatchEvent(new PointerEvent("pointermove", place));
  said.dragged = by("before").style.clipPath;
  const drag = new DragEvent("dragstart", { bubbles: true, cancelable: true });
  said.free = by("after").dispatchEvent(drag);
  await restore();
  said.second = by("message").textContent;
  said.enabled = !by("again").disabled;
  document.documentElement.dataset.said = JSON.stringify(said);
})();
"""


@pytest.mark.slow
def test_page_restores_compares_and_reports_errors(tmp_path):
    path = tmp_path / "demo.html"
    path.write_text(demo.page("m"), encoding="utf-8")
    dom = dom_after(str(path), SCRIPT, tmp_path)
    said = json.loads(html.unescape(re.search(r'data-said="([^"]*)"', dom)[1]))
    assert said["errors"] == []
    assert said["calls"][0] == ["restore?format=webp&ensemble=true&tile=256", "POST", 5]
    assert said["first"].startswith("Restored in") and said["shown"]
    assert said["download"] == "photo-restored.webp"
    assert said["start"] == "inset(0px 50% 0px 0px)"
    assert said["moved"] == "inset(0px 80% 0px 0px)"
    assert said["dragged"] == "inset(0px 75% 0px 0px)"
    # The browser must not drag the image itself.
    assert said["free"] is False
    assert said["second"] == "too large" and said["enabled"]


def test_command_serves_the_network_and_its_page(write_run, tmp_path, monkeypatch):
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn (extra `serve`) is not installed")
    from PIL import Image

    served = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: served.append((app, options)))
    write_run(str(tmp_path / "run"))
    assert demo.main(["--model", str(tmp_path / "run"), "--port", "8123"]) == 0
    ((application, options),) = served
    assert (options["host"], options["port"]) == ("127.0.0.1", 8123)
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    with Client(application) as client:
        assert "unet16" in client.get("/health").text
        assert client.get("/").status_code == 200
        for query in ("", "?ensemble=true"):
            answer = client.post(f"/restore{query}", content=path.read_bytes())
            assert answer.status_code == 200 and answer.content.startswith(b"\x89PNG")
