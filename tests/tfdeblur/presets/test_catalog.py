"""Finding presets by name, in the package and in the cache."""

import functools
import hashlib
import http.server
import pathlib
import threading

import pytest

import tfdeblur
from tfdeblur import presets
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files
from tfdeblur.presets import catalog, preset
from tfdeblur.presets.preset import Preset, Training, Weights

CONTENT = b"weights"


def described(url, content=CONTENT):
    return Preset(
        name="far",
        model={"name": "unet16"},
        weights=Weights(
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
            parameters=1,
            precision="float32",
            url=url,
        ),
        training=Training(images=0),
    )


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def served(tmp_path):
    """A folder and the address of a server of its files."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Makes a preset with an address the only one, with an empty cache; returns the cache."""

    def put(found):
        folder = tmp_path / "package" / found.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / preset.FACTS).write_text(preset.to_yaml(found))
        monkeypatch.setattr(catalog, "_FOLDER", folder.parent)
        monkeypatch.setenv(catalog.CACHE_VARIABLE, str(tmp_path / "cache"))
        return tmp_path / "cache"

    return put


def test_find_returns_the_folder_in_the_package():
    folder = pathlib.Path(presets.find("unet16-cifar10"))
    assert folder.name == "unet16-cifar10" and (folder / preset.WEIGHTS).exists()


def test_path_that_exists_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unet16-cifar10").mkdir()
    assert presets.find("unet16-cifar10") == "unet16-cifar10"
    with pytest.raises(UserError, match=preset.FACTS):
        tfdeblur.load("unet16-cifar10")


@pytest.mark.parametrize("call", [presets.find, presets.load, tfdeblur.load])
def test_unknown_name_suggests_the_near_one(call):
    with pytest.raises(UserError, match="'unet16-cifar10'"):
        call("unet16-cifar")


def test_weights_are_downloaded_once_to_the_cache(served, publish):
    folder, address = served
    (folder / "a.safetensors").write_bytes(CONTENT)
    found = described(f"{address}/a.safetensors")
    cache = publish(found)
    assert not cache.exists()
    place = pathlib.Path(presets.find("far"))
    assert place.parent == cache and preset.verify(str(place)) == found
    (folder / "a.safetensors").unlink()
    assert presets.find("far") == str(place)


def test_download_of_other_weights_is_refused_and_not_stored(served, publish):
    folder, address = served
    (folder / "a.safetensors").write_bytes(b"others")
    cache = publish(described(f"{address}/a.safetensors"))
    with pytest.raises(DataError, match=rf"{address}/a\.safetensors"):
        presets.find("far")
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("path", ["missing.safetensors", None])
def test_unreachable_weights_raise_one_error_that_names_the_place_for_them(
    path, served, publish, tmp_path
):
    url = f"{served[1]}/{path}" if path else "http://127.0.0.1:9/a.safetensors"
    found = described(url)
    cache = publish(found)
    with pytest.raises(UserError, match=url) as caught:
        presets.find("far")
    place = cache / f"far-{found.weights.sha256[:12]}" / preset.WEIGHTS
    assert str(place) in str(caught.value) and catalog.CACHE_VARIABLE in str(caught.value)
    # What the message asks for works.
    place.write_bytes(CONTENT)
    assert preset.verify(presets.find("far")) == found


def test_altered_weights_in_the_cache_are_refused_by_name(served, publish):
    folder, address = served
    (folder / "a.safetensors").write_bytes(CONTENT)
    publish(described(f"{address}/a.safetensors"))
    place = presets.find("far")
    files.write_bytes(files.join(place, preset.WEIGHTS), b"altered")
    with pytest.raises(DataError, match=files.join(place, preset.WEIGHTS)):
        tfdeblur.load("far")


def test_preset_without_weights_and_address_raises_data_error(publish):
    publish(described(None))
    with pytest.raises(DataError, match="far"):
        presets.find("far")


def test_cache_is_in_the_home_directory_if_unset(monkeypatch, tmp_path):
    monkeypatch.delenv(catalog.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert catalog.cache_folder() == str(tmp_path / ".cache" / "tfdeblur")
