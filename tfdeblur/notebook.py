"""Sessions of notebooks in Colab, in Kaggle or on a machine of one's own.

Example:
    >>> from tfdeblur import notebook
    >>> session = notebook.start("runs-of-mine")  # doctest: +SKIP
    >>> session.tpu  # doctest: +SKIP
    'local'
"""

import dataclasses
import hashlib
import os
import subprocess
import sys

from tfdeblur import _version
from tfdeblur.config.backend import choose_backend
from tfdeblur.diagnostics import platforms
from tfdeblur.errors import UserError
from tfdeblur.io import files

# The folders of each platform: runs, which outlive the session, and data, which need not.
_FOLDERS = {"Colab": ("/content", "/content/data"), "Kaggle": ("/kaggle/working", "/tmp/data")}
_ELSEWHERE = (".", "data")

# Where reading is slow: mounted drives and buckets.
_SLOW = ("/content/drive/", "gs://")

_RUNS, _CACHE = "runs", "jax_cache"


@dataclasses.dataclass(frozen=True)
class Session:
    """The folders and the device of a notebook's session.

    Attributes:
        runs: Folder of the work directories.
        data: Folder on the local disk for data sets.
        tpu: For `runtime.tpu`: ``local`` if there is a TPU, else None.
        summary: One line about the machine.
    """

    runs: str
    data: str
    tpu: str | None
    summary: str

    def __str__(self) -> str:
        """Returns the machine and the folder of the runs."""
        return f"{self.summary}\nRuns are kept in {self.runs}."

    def stage(self, path: str) -> str:
        """Copies a folder from a mounted drive or a bucket to the local disk.

        Args:
            path: Any folder; others are read in place.

        Returns:
            The folder to read. Files that an interrupted call has copied are not copied again.
        """
        if not path.startswith(_SLOW):
            return path
        # Folders of one name, such as linear/gopro and gamma/gopro, are not mixed.
        digest = hashlib.sha256(path.rstrip("/").encode()).hexdigest()[:8]
        target = files.join(self.data, digest, files.base_name(path))
        files.copy_tree(path, target)
        return target

    def command(self, module: str, *flags: str) -> None:
        """Runs a command that needs TensorFlow in a process of its own, on the CPU.

        Args:
            module: Such as ``tfdeblur.export``.
            *flags: Its flags. Its output is printed.

        Raises:
            UserError: The command failed.
        """
        hidden = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [sys.executable, "-m", module, *flags],
            env={**os.environ, **hidden, "KERAS_BACKEND": "tensorflow"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        print(done.stdout, end="")
        if done.returncode:
            raise UserError(f"{module} failed with exit code {done.returncode}; see its output.")


def start(home: str = "", previous: str = "") -> Session:
    """Prepares a session: login, folders, Keras's backend and JAX's cache of compiled programs.

    Keras runs on JAX if only JAX can use the machine's TPU, or if the variable ``KERAS_BACKEND``
    says so; this is final for the kernel.

    Args:
        home: Folder to keep runs in, such as one on a mounted drive or ``gs://BUCKET/FOLDER``;
            ``/content`` in Colab, ``/kaggle/working`` in Kaggle and the current folder elsewhere
            if empty. Programs that JAX compiles are kept beside them, for later sessions.
        previous: Folder in which an earlier session kept its runs, such as a notebook's output in
            ``/kaggle/input``. They are copied, unless this session has runs already.

    Raises:
        UserError: A folder cannot be accessed, or the backend is not installed.
    """
    platform = platforms.find()
    default, data = _FOLDERS.get(platform.name.split()[0], _ELSEWHERE)
    home = home or default
    if "gs://" in home:
        _log_in(platform.name)
    runs = files.join(home, _RUNS)
    copying = files.join(runs, ".copying")
    if previous and (not files.exists(runs) or files.exists(copying)):
        source = files.join(previous, _RUNS)
        files.list_dir(source)  # raises if there is none
        files.make_dirs(runs)
        files.write_text(copying, previous)  # an interrupted copy is continued
        files.copy_tree(source, runs)
        files.remove(copying)
    tpu = platforms.local_tpu()
    choose_backend({"tpu": tpu})
    import keras

    if keras.backend.backend() == "jax":
        import jax

        place = os.path.abspath(home) if files.is_local(home) else home
        jax.config.update("jax_compilation_cache_dir", files.join(place, _CACHE))
    from tfdeblur.ops.devices import device_summary

    about = f"tfdeblur {_version.__version__} on {platform.name}: {device_summary()}"
    return Session(runs, data, tpu, about)


def _log_in(platform: str) -> None:
    """Lets a notebook use its user's buckets; Colab asks the user, Kaggle has asked before."""
    if platform.startswith("Colab"):
        from google.colab import auth

        auth.authenticate_user()
    elif platform.startswith("Kaggle"):
        from kaggle_secrets import UserSecretsClient

        secrets = UserSecretsClient()
        secrets.set_tensorflow_credential(secrets.get_gcloud_credential())
