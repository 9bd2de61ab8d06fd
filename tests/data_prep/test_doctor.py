"""The data doctor: output, exit codes, real data."""

import html
import json
import os
import re
import subprocess
import sys

import pytest

from data_prep import doctor
from data_prep.checks.findings import CODES, EXIT_CODES, Severity
from tests.helpers import faulty_data as faulty
from tfdeblur import cli


def test_doctor_faulty_set_writes_text_json_and_page(tmp_path, capsys):
    root = faulty.make_pairs(tmp_path / "set <b>")
    os.truncate(f"{root}/blur/day/0.png", 200)
    faulty.write(f"{root}/blur/night/1.png", faulty.pair(21, shift=5)[0])
    words = [root, "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]
    assert doctor.main([*words, "--workers", "1", "--pictures", "2"]) == 4
    printed = capsys.readouterr().out
    assert "error [unreadable]" in printed and "warning [misaligned]" in printed
    assert "Remedy: Fetch it again" in printed and "PSNR" in printed
    assert "1 error, 1 warning found." in printed

    result = json.loads((tmp_path / "a.json").read_text())
    assert result["exit_code"] == 4 and result["severity"] == "error" and result["kind"] == "raw"
    assert result["format"] == 2 and result["counts"] == {"unreadable": 1, "misaligned": 1}
    assert result["findings"][0]["file"] == "blur/day/0.png"
    assert all(f["meaning"] and f["remedy"] for f in result["findings"])
    assert sum(result["psnr"]["histogram"]["counts"]) == result["psnr"]["pairs"] == 5

    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * 3 and "set <b>" not in page
    assert html.escape("set <b>") in page and len(page) < 200_000
    # The page is self-contained.
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    assert page.index("misaligned") < page.index("Pairs to inspect first")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".partial")]


def test_doctor_clean_set_exits_with_0(tmp_path, capsys):
    root = faulty.make_gopro(tmp_path / "set")
    assert doctor.main([root, "--workers", "1", "--html", str(tmp_path / "a.html")]) == 0
    printed = capsys.readouterr().out
    assert "Layout: native GoPro (train, test)." in printed and "nothing found." in printed
    assert "None." in (tmp_path / "a.html").read_text()


def test_doctor_any_number_of_workers_reports_the_same(tmp_path):
    root = faulty.make_pairs(tmp_path / "set", scenes=tuple("abcdef"))
    os.truncate(f"{root}/blur/b/0.png", 200)
    result = [
        doctor.run(doctor.DoctorConfig(path=(root,), workers=workers)).to_json()
        for workers in (1, 2)
    ]
    assert result[0] == result[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "path: "),
        (["a", "b"], "path: "),
        (["nowhere"], "nowhere"),
        ([".", "--source", "gopr"], "'gopro'"),
        ([".", "--gamma", "gamma"], "--gamma"),
        ([".", "--sample", "0"], "sample: "),
        ([".", "--source=scenes"], "--source scenes"),
    ],
)
def test_doctor_wrong_usage_prints_one_error(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctor.main(words) == cli.command.EXIT_USER_ERROR
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and "Traceback" not in printed


def test_exit_codes_are_distinct_and_documented(capsys):
    codes = {EXIT_CODES[severity] for severity in Severity}
    assert codes == {0, 3, 4} and not codes & {
        1,
        cli.command.EXIT_USER_ERROR,
        cli.command.EXIT_INTERRUPTED,
    }
    with pytest.raises(SystemExit):
        doctor.main(["--source", "reds", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 with warnings, 4 with errors" in printed
    assert "raw data sets are never modified" in printed
    assert "--track" in printed and "--repair" in printed


def test_codes_have_meaning_and_remedy():
    for name, code in CODES.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
        assert code.meaning.endswith(".") and (code.remedy.endswith(".") or name == "repaired")


def test_doctor_help_does_not_import_tensorflow():
    script = (
        "import sys\n"
        "from data_prep import doctor\n"
        "try:\n    doctor.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "from data_prep.checks import pairs\n"  # imported by workers
        "sys.exit(bool({'tensorflow', 'keras', 'cv2'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "source", "options", "pairs"),
    [
        ("gopro", None, {}, 7),
        ("reds", "reds", {"track": "blur_bicubic"}, 40),
        ("reds", "reds", {"track": "blur"}, 4),
    ],
)
def test_doctor_real_pairs_have_no_findings(real_data, folder, source, options, pairs):
    config = doctor.config_class(source)(
        path=(str(real_data / folder),), source=source, workers=2, **options
    )
    report = doctor.run(config)
    found = report
    assert found.examined == found.pairs == pairs
    assert report.findings == [], report.to_text()
    assert 17 < report.psnr["min"] <= report.psnr["max"] < 40


@pytest.mark.parametrize("flag", ["--json", "--html"])
def test_doctor_report_path_is_folder_fails_before_examination(tmp_path, capsys, flag):
    root = faulty.make_pairs(tmp_path / "set")
    assert doctor.main([root, flag, str(tmp_path)]) == 2
    result = capsys.readouterr()
    assert str(tmp_path) in result.err and result.out == ""
