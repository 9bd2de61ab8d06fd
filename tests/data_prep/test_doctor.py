"""The command: what it prints and writes, its exit codes, real data."""

import html
import json
import os
import re
import subprocess
import sys

import pytest

from data_prep import doctor
from data_prep.checks.findings import CODES, EXIT_CODES, Severity
from tests.data_prep.checks import planting as p
from tfdeblur import cli


def test_a_whole_run_with_json_and_a_page(tmp_path, capsys):
    root = p.make_pairs(tmp_path / "set <b>")
    os.truncate(f"{root}/blur/day/0.png", 200)
    p.write(f"{root}/blur/night/1.png", p.pair(21, shift=5)[0])
    words = [root, "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]
    assert doctor.main([*words, "--workers", "1", "--pictures", "2"]) == 4
    printed = capsys.readouterr().out
    assert "error [truncated]" in printed and "warning [misaligned]" in printed
    assert "What to do: Fetch it again" in printed and "PSNR" in printed
    assert "1 error, 1 warning found." in printed

    told = json.loads((tmp_path / "a.json").read_text())
    assert told["exit_code"] == 4 and told["severity"] == "error" and told["kind"] == "raw"
    assert told["counts"] == {"truncated": 1, "misaligned": 1}
    assert told["findings"][0]["file"] == "blur/day/0.png"
    assert all(f["meaning"] and f["cure"] for f in told["findings"])
    assert sum(told["psnr"]["histogram"]["counts"]) == told["psnr"]["pairs"] == 5

    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * 3 and "set <b>" not in page
    assert html.escape("set <b>") in page and len(page) < 200_000
    # Nothing is fetched from elsewhere.
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    assert page.index("misaligned") < page.index("Pairs to look at first")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".partial")]


def test_a_clean_set(tmp_path, capsys):
    root = p.make_gopro(tmp_path / "set")
    assert doctor.main([root, "--workers", "1", "--html", str(tmp_path / "a.html")]) == 0
    printed = capsys.readouterr().out
    assert "Layout: native GoPro (train, test)." in printed and "nothing found." in printed
    assert "None." in (tmp_path / "a.html").read_text()


def test_processes_change_nothing(tmp_path):
    root = p.make_pairs(tmp_path / "set", scenes=tuple("abcdef"))
    os.truncate(f"{root}/blur/b/0.png", 200)
    told = [
        doctor.run(doctor.DoctorConfig(path=(root,), workers=workers)).to_json()
        for workers in (1, 2)
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "path: is needed"),
        (["a", "b"], "path: "),
        (["nowhere"], "nowhere does not exist"),
        ([".", "--source", "gopr"], "Unknown source 'gopr'. Did you mean 'gopro'?"),
        ([".", "--gamma", "gamma"], "unknown flag"),
        ([".", "--sample", "0"], "sample: "),
        ([".", "--source=scenes"], "makes its own pictures"),
    ],
)
def test_wrong_uses_are_told_in_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctor.main(words) == cli.command.EXIT_USER_ERROR
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and "Traceback" not in printed


def test_exit_codes_are_their_own_and_in_the_help(capsys):
    codes = {EXIT_CODES[severity] for severity in Severity}
    assert codes == {0, 3, 4} and not codes & {
        1,
        cli.command.EXIT_USER_ERROR,
        cli.command.EXIT_INTERRUPTED,
    }
    with pytest.raises(SystemExit):
        doctor.main(["--source", "reds", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 where there are warnings, and 4 where there are errors" in printed
    assert "raw sets are never touched" in printed
    assert "--track" in printed and "--repair" in printed


def test_every_code_has_a_meaning_and_a_cure():
    for name, code in CODES.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
        assert code.meaning.endswith(".") and (code.cure.endswith(".") or name == "repaired")


def test_help_does_not_wait_for_tensorflow():
    script = (
        "import sys\n"
        "from data_prep import doctor\n"
        "try:\n    doctor.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "from data_prep.checks import pairs, pool\n"  # what a worker imports
        "sys.exit(bool({'tensorflow', 'keras', 'cv2'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("folder", "source", "options", "pairs"),
    [
        ("gopro", None, {}, 7),
        ("reds", "reds", {"track": "blur_bicubic"}, 40),
        ("reds", "reds", {"track": "blur"}, 4),
    ],
)
def test_genuine_pairs_pass(real_data, folder, source, options, pairs):
    config = doctor.config_class(source)(
        path=(str(real_data / folder),), source=source, workers=2, **options
    )
    report = doctor.run(config)
    found = report.examination
    assert found.examined == found.pairs == pairs
    assert report.findings == [], report.to_text()
    assert 17 < report.decibels["min"] <= report.decibels["max"] < 40


@pytest.mark.parametrize("flag", ["--json", "--html"])
def test_a_folder_where_a_file_is_wanted_is_told_before_anything_is_looked_at(
    tmp_path, capsys, flag
):
    root = p.make_pairs(tmp_path / "set")
    assert doctor.main([root, flag, str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert "is a folder: give the name of a file" in told.err and told.out == ""
