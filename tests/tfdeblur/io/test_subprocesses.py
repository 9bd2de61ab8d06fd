"""Replies, errors, crashes and timeouts of subprocesses."""

import json
import os
import subprocess
import sys
import time

import pytest

from tfdeblur.errors import UserError
from tfdeblur.io import subprocesses

_SERVE = """
import sys
from tfdeblur.io import subprocesses
from tfdeblur.errors import UserError

def work(request):
    {body}

sys.exit(subprocesses.serve(work, sys.argv))
"""


def call(body, request=None, seconds=60.0, **options):
    """Calls a subprocess whose `work` has the given body."""
    command = (sys.executable, "-c", _SERVE.format(body=body))
    return subprocesses.call("unused", request or {}, seconds=seconds, command=command, **options)


def test_call_returns_the_reply():
    reply = call("return {'double': 2 * request['number']}", {"number": 21})
    assert reply.values == {"double": 42}
    assert reply.error == "" and not reply.timed_out


def test_call_with_environment_passes_it_on():
    body = "import os; return {'found': os.environ['TFDEBLUR_TEST']}"
    assert call(body, environment={"TFDEBLUR_TEST": "there"}).values == {"found": "there"}


def test_user_error_in_the_subprocess_is_the_error_of_the_reply():
    reply = call("raise UserError('The bucket is full.')")
    assert reply.error == "The bucket is full."


def test_crash_is_a_reply_with_the_last_lines_of_stderr():
    reply = call("raise RuntimeError('no such chip')")
    assert reply.values == {}
    assert "exit code 1" in reply.error and "no such chip" in reply.error


def test_killed_subprocess_is_a_reply_with_the_signal():
    reply = call("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert "SIGSEGV" in reply.error


def test_timeout_kills_the_subprocess():
    reply = call("import time; time.sleep(600)", seconds=0.5)
    assert reply.timed_out
    assert "0 s" in reply.error


def test_subprocess_exits_when_its_parent_is_killed(tmp_path):
    mark = tmp_path / "pid"
    body = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    program = (
        "import sys; from tfdeblur.io import subprocesses; "
        "subprocesses.call('unused', {}, seconds=600, "
        "command=(sys.executable, '-c', sys.argv[1]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, _SERVE.format(body=body)])
    while not mark.exists() or not mark.read_text():
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    pid = int(mark.read_text())
    # The test's own timeout ends this loop if the subprocess does not exit.
    while _runs(pid):
        time.sleep(0.05)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_serve_writes_user_errors_and_raises_others(tmp_path):
    request = json.dumps({subprocesses.PARENT: os.getppid()})
    (tmp_path / subprocesses.REQUEST).write_text(request)

    def refuse(request):
        raise UserError("Not today.")

    assert subprocesses.serve(refuse, ["program", str(tmp_path)]) == 0
    assert "Not today." in (tmp_path / subprocesses.REPLY).read_text()
    with pytest.raises(KeyError):
        subprocesses.serve(lambda request: {"value": request["absent"]}, ["program", str(tmp_path)])
