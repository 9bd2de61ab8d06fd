"""Output folders keep files that the command did not write."""

import pytest

from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.io.outputs import LIST, OutputFolder


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    return str(tmp_path / "out") if request.param == "local" else f"ram://outputs-{tmp_path.name}"


def test_files_of_the_command_are_replaced_and_cleared(folder):
    out = OutputFolder.reserve(folder, "scores.json", "pictures")
    out.write_json("scores.json", {"psnr": 1})
    out.write_bytes("pictures/a.png", b"one")
    again = OutputFolder.reserve(folder, "scores.json", "pictures")
    again.write_json("scores.json", {"psnr": 2})
    again.clear("pictures")
    assert files.read_json(files.join(folder, "scores.json")) == {"psnr": 2}
    assert not files.exists(files.join(folder, "pictures/a.png"))
    again.clear()
    assert not files.exists(files.join(folder, LIST))


@pytest.mark.parametrize("name", ["index.html", "pictures/a.png"])
def test_file_of_the_user_is_neither_replaced_nor_cleared(folder, name):
    path = files.join(folder, name)
    files.make_dirs(files.parent(path))
    files.write_text(path, "theirs")
    with pytest.raises(UserError, match=path):
        OutputFolder.reserve(folder, "index.html", "pictures")
    with pytest.raises(UserError, match=path):
        OutputFolder(folder).write_text(name, "ours")
    OutputFolder(folder).clear()
    assert files.read_text(path) == "theirs"


def test_file_of_the_command_edited_by_the_user_is_kept(folder):
    OutputFolder(folder).write_text("report.html", "ours")
    path = files.join(folder, "report.html")
    files.write_text(path, "edited")
    with pytest.raises(UserError, match=path):
        OutputFolder.reserve(folder, "report.html")
    OutputFolder(folder).clear()
    assert files.read_text(path) == "edited"


def test_reserve_with_a_link_in_place_of_a_file_raises_user_error(tmp_path):
    target = tmp_path / "target"
    target.write_text("theirs")
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.html").symlink_to(target)
    with pytest.raises(UserError, match=r"index\.html"):
        OutputFolder.reserve(str(out), "index.html")
    assert target.read_text() == "theirs"


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', "[" * 200_000])
def test_reserve_with_a_damaged_list_raises_user_error(tmp_path, text):
    OutputFolder(str(tmp_path)).write_text("a.txt", "ours")
    (tmp_path / LIST).write_text(text)
    with pytest.raises(UserError, match=r"a\.txt"):
        OutputFolder.reserve(str(tmp_path), "a.txt")
