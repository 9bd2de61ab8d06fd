# Setup, the same in all notebooks: installs LIBRARY into this kernel, without changing a package
# that is here already, and prepares the disks and the device of this session.
import glob
import importlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

if DRIVE:
    from google.colab import drive

    drive.mount("/content/drive")
    HOME = HOME or "/content/drive/MyDrive/tfdeblur"


def is_installed(package):
    """Whether a package can be imported; a folder of the same name is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def installed_packages():
    command = [sys.executable, "-m", "pip", "list", "--format=freeze"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def address_of_library(scratch):
    """Where pip finds LIBRARY: an address, or the file or folder here that matches it."""
    if "://" in LIBRARY:
        return LIBRARY
    for place in ("", "/content", "/kaggle/input/*", "/kaggle/input/*/*", "/kaggle/input/*/*/*"):
        for path in sorted(glob.glob(os.path.join(place, LIBRARY)), reverse=True):
            if os.path.isfile(f"{path}/setup.cfg"):  # Kaggle unpacks archives, to a read-only disk
                return pathlib.Path(shutil.copytree(path, f"{scratch}/library")).as_uri()
            if os.path.isfile(path):
                return pathlib.Path(path).resolve().as_uri()
    raise FileNotFoundError(f"There is no {LIBRARY} here: upload it, or change LIBRARY above.")


if not is_installed("tfdeblur"):
    before = installed_packages()
    extra = "" if is_installed("tensorflow") else "[cpu]"  # TensorFlow on the CPU reads the data
    with tempfile.TemporaryDirectory() as scratch:
        constraints = pathlib.Path(scratch, "installed.txt")
        constraints.write_text("\n".join(before))
        wanted = f"tfdeblur{extra} @ {address_of_library(scratch)}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(constraints), wanted]
        subprocess.run(command, check=True)
    changed = set(before) - set(installed_packages())
    assert not changed, f"pip changed {sorted(changed)}: start a new session."
    importlib.invalidate_caches()

from tfdeblur import notebook

session = notebook.start(HOME, previous=PREVIOUS)
print(session)
