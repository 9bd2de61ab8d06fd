"""Programs of their own: answers, errors, crashes and limits of time."""

import subprocess
import sys
import time

import pytest

from tfdeblur.errors import UserError
from tfdeblur.io import subprocesses

# What a program does with its request; the folder is its last word.
_SERVE = """
import sys
from tfdeblur import programs
from tfdeblur.errors import UserError

def work(request):
    {body}

sys.exit(programs.serve(work, sys.argv))
"""


def ask(body, request=None, seconds=60.0, **options):
    command = (sys.executable, "-c", _SERVE.format(body=body))
    return subprocesses.ask("unused", request or {}, seconds=seconds, command=command, **options)


def test_a_request_is_answered():
    answer = ask("return {'double': 2 * request['number']}", {"number": 21})
    assert answer.values == {"double": 42}
    assert answer.error == "" and not answer.timed_out


def test_variables_reach_the_program():
    body = "import os; return {'found': os.environ['TFDEBLUR_TEST']}"
    assert ask(body, environment={"TFDEBLUR_TEST": "there"}).values == {"found": "there"}


def test_a_users_error_is_one_sentence():
    answer = ask("raise UserError('The bucket is full.')")
    assert answer.error == "The bucket is full."


def test_a_crash_is_an_answer_with_its_last_words():
    answer = ask("raise RuntimeError('no such chip')")
    assert answer.values == {}
    assert "exit code 1" in answer.error and "no such chip" in answer.error


def test_a_killed_program_names_the_signal():
    answer = ask("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert "SIGSEGV" in answer.error


def test_a_program_that_takes_too_long_is_ended():
    answer = ask("import time; time.sleep(600)", seconds=0.5)
    assert answer.timed_out
    assert "0 s" in answer.error


def test_a_program_ends_with_the_one_that_asked(tmp_path):
    mark = tmp_path / "pid"
    body = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    words = (
        "import sys; from tfdeblur.io import subprocesses; "
        "subprocesses.ask('unused', {}, seconds=600, command=(sys.executable, '-c', sys.argv[1]))"
    )
    asking = subprocess.Popen([sys.executable, "-c", words, _SERVE.format(body=body)])
    while not mark.exists() or not mark.read_text():
        time.sleep(0.05)
    asking.kill()
    asking.wait()
    pid = int(mark.read_text())
    # The test's own limit of time ends a wait for a program that stays.
    while _runs(pid):
        time.sleep(0.05)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_serve_writes_what_the_work_returns(tmp_path):
    (tmp_path / subprocesses.REQUEST).write_text("{}")

    def refuse(request):
        raise UserError("Not today.")

    assert subprocesses.serve(refuse, ["program", str(tmp_path)]) == 0
    assert "Not today." in (tmp_path / subprocesses.ANSWER).read_text()
    with pytest.raises(KeyError):
        subprocesses.serve(lambda request: {"value": request["absent"]}, ["program", str(tmp_path)])
