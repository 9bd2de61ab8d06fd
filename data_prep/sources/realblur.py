"""RealBlur: 3,758 training and 980 test pairs, taken by a camera with two sensors.

The published layout is one folder of scenes for each kind, such as
`RealBlur-J_ECC_IMCORR_centroid_itensity_ref/scene001/blur/blur_1.png` with `scene001/gt/gt_1.png`,
and next to it the lists `RealBlur_J_train_list.txt` and `RealBlur_J_test_list.txt` with the paths
of the sharp and the blurred half on each line. J are JPEG files from the camera; R, in
`RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref`, are developed from its raw files. `--source` is
the parent folder of all this, or one folder of scenes with the lists in it or next to it. Image
sizes differ, so a build requires `--tile` or `--resize`. There is no validation split; some
training scenes are used.

The names of folders, files and lists, the columns of a line and the counts are from the
documentation and scripts of several public repositories; not tested on the data set itself.

Reference: Rim et al., Real-World Blur Dataset for Learning and Benchmarking Deblurring Algorithms,
2020.
"""

import dataclasses
from typing import Any, Literal

from data_prep.layouts.folders import skipped, sub_folders, unrecognized
from data_prep.layouts.matching import folder_pairs, group
from data_prep.layouts.pairs import PairOptions, PairSource, describe_recorded, list_pairs
from data_prep.sources.source import Listing
from tfdeblur.errors import DataError
from tfdeblur.io import files

HOW = {
    "J": "two sensors behind one lens, long and short exposure; JPEG files from the camera",
    "R": "two sensors behind one lens, long and short exposure; developed from raw files",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PairOptions):
    """Options of the RealBlur source."""

    source: str
    """folder that contains the RealBlur folders and lists"""
    kind: Literal["J", "R"] = "J"
    """J: JPEG from the camera; R: developed from raw files"""


def build(options: Options) -> "RealBlur":
    """Returns the source."""
    return RealBlur(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a folder, best first; none if it is not RealBlur."""
    if not files.is_dir(root):
        return []
    names = sub_folders(root)
    scenes = [name for name in names if name.startswith("scene")]
    if scenes:
        inside = set(sub_folders(files.join(root, scenes[0])))
        kind = "R" if "RealBlur-R" in files.base_name(root) else "J"
        return [{"source": root, "kind": kind}] if inside & {"blur", "gt"} else []
    return [
        {"source": root, "kind": kind}
        for kind in HOW
        if any(name.startswith((f"RealBlur-{kind}", f"RealBlur_{kind}")) for name in names)
    ]


class RealBlur(PairSource):
    """RealBlur in its published layout."""

    _options: Options

    def listing(self) -> Listing:
        """Lists all pairs; see `Source.listing`."""
        options = self._options
        folder = self._folder()
        scenes = []
        unread = set(sub_folders(options.source)) - {files.base_name(folder)}
        for name in sub_folders(folder):
            place = files.join(folder, name)
            if files.is_dir(files.join(place, "blur")) or files.is_dir(files.join(place, "gt")):
                unread.discard(name)
                halves = files.join(place, "blur"), files.join(place, "gt")
                pairs = folder_pairs(f"Scene {name}", *halves, prefixes=("blur_", "gt_"))
                scenes += group("train", {f"{name}/{n}": pair for n, pair in pairs.items()}, _parse)
        if not scenes:
            raise unrecognized(folder, self._expected())
        lists = self._lists(folder)
        layout = f"published RealBlur-{options.kind} ({files.base_name(folder)})"
        return list_pairs(scenes, options, layout, skipped(unread), lists=lists)

    def describe_blur(self) -> dict[str, Any]:
        """Returns how the kind was recorded."""
        return describe_recorded(HOW[self._options.kind], track=self._options.kind)

    def _expected(self) -> str:
        kind = self._options.kind
        return (
            f"RealBlur-{kind}*/sceneNNN/blur/blur_N.png with sceneNNN/gt/gt_N.png, and "
            f"RealBlur_{kind}_train_list.txt and RealBlur_{kind}_test_list.txt next to them"
        )

    def _folder(self) -> str:
        """Returns the folder of the scenes."""
        root, kind = self._options.source, self._options.kind
        if not files.is_dir(root):
            raise unrecognized(root, self._expected())
        names = sub_folders(root)
        if any(name.startswith("scene") for name in names):
            return root
        begins = (f"RealBlur-{kind}", f"RealBlur_{kind}")
        found = [name for name in names if name.startswith(begins)]
        if len(found) > 1:
            raise DataError(
                f"{root} contains several folders of RealBlur-{kind}: {', '.join(found)}. Set "
                "--source to one of them."
            )
        if not found:
            raise unrecognized(root, self._expected())
        return files.join(root, found[0])

    def _lists(self, folder: str) -> dict[str, str] | None:
        """Returns the published lists by split, next to the folder of scenes or in it."""
        options = self._options
        names = {s: f"RealBlur_{options.kind}_{s}_list.txt" for s in ("train", "test")}
        for place in (files.parent(folder), folder):
            lists = {split: files.join(place, name) for split, name in names.items()}
            if all(files.exists(path) for path in lists.values()):
                return lists
        if not (options.lists() or options.test_scenes or options.test_share):
            raise DataError(
                f"There is no {names['train']} with {names['test']} in {folder} or next to it, so "
                "the test scenes are unknown. Fetch the lists, or set --test-scenes, --test-list "
                "or --test-share."
            )
        return None


def _parse(name: str) -> tuple[str, str]:
    scene, frame = name.split("/")
    return scene, frame
