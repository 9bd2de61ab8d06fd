"""Reasons in error messages, of TensorFlow and others."""

import pytest

from tfdeblur.errors import reason_of

IN_A_GRAPH = """Graph execution error:

Detected at node MultiDeviceIteratorGetNextFromShard defined at (most recent call last):
<stack traces unavailable>
Detected at node while/Conv defined at (most recent call last):
  File "train.py", line 3, in main
2 root error(s) found.
  (0) PERMISSION_DENIED:  data/train-1; Permission denied
\t [[{{node MultiDeviceIteratorGetNextFromShard}}]]
\t [[RemoteCall]]
  (1) CANCELLED:  stopped
0 successful operations. [Op:__inference_f_4392]"""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (IN_A_GRAPH, "data/train-1; Permission denied"),
        (
            "{{function_node __wrapped__IteratorGetNext_device_/job:a/CPU:0}} d; Is a directory "
            "[Op:IteratorGetNext] name: ",
            "d; Is a directory",
        ),
        ("first line.\nsecond line", "first line"),
        ("Graph execution error:\n\nSocket closed\nmore", "Socket closed"),
        ("  Graph execution error:", "Graph execution error"),
        ("", ""),
        ("x" * 400, "x" * 300),
        (ValueError("first line.\nsecond line"), "first line"),
        (KeyError("a/kernel"), "a/kernel"),
        (KeyError(), "KeyError"),
        (RecursionError(), "RecursionError"),
    ],
)
def test_reason_of_error_is_its_relevant_line(error, reason):
    assert reason_of(error) == reason
