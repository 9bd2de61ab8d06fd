"""Findings of the data doctor: stable codes with severity, meaning and remedy."""

import dataclasses
import enum


class Severity(enum.IntEnum):
    """Severity of a finding; the highest one decides the exit code."""

    INFO = 0
    WARNING = 1
    ERROR = 2


# 1 is used by Python, 2 for wrong usage, 128 and above for signals.
EXIT_CODES = {Severity.INFO: 0, Severity.WARNING: 3, Severity.ERROR: 4}


@dataclasses.dataclass(frozen=True)
class Code:
    """A kind of finding. Kinds with the same severity and remedy share one code."""

    severity: Severity
    meaning: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        code: A key of `CODES`.
        file: The file, folder, shard, pair or scene.
        detail: What was found, as a sentence; may be empty.
    """

    code: str
    file: str
    detail: str = ""

    @property
    def severity(self) -> Severity:
        """Severity of its code."""
        return CODES[self.code].severity


_INFO, _WARNING, _ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR

CODES: dict[str, Code] = {
    # Layout.
    "layout-unknown": Code(
        _ERROR, "No source recognizes this layout.", "Set --source NAME and its options."
    ),
    "layout-faulty": Code(
        _ERROR, "The source cannot list this data set.", "Fix the problem in the message."
    ),
    "missing-half": Code(
        _ERROR, "The other half of an image or a scene is missing.", "Fetch it, or remove this one."
    ),
    "bad-name": Code(
        _ERROR, "The name is ambiguous, has no scene, or is not UTF-8.", "Rename or remove it."
    ),
    "scene-in-two-splits": Code(
        _ERROR,
        "A scene is in two splits, so a network would be evaluated on training data.",
        "Remove it from one of them.",
    ),
    "size-differs": Code(
        _ERROR, "The halves of a pair differ in size.", "Fetch both halves again, or remove both."
    ),
    "odd-size": Code(
        _WARNING,
        "A few images differ in size from nearly all others of their split.",
        "Check whether they were cropped or rotated; train and val require --tile or --resize.",
    ),
    "sizes-vary": Code(
        _INFO,
        "Image sizes vary within a split.",
        "Build with --tile or --resize; test images can be kept whole.",
    ),
    "halves-in-one-picture": Code(
        _WARNING,
        "Both halves of every image show the same: they may be pairs side by side in one picture.",
        "Set --source pairs --halves blurred-sharp, or sharp-blurred if the sharp half is left.",
    ),
    # Names and links.
    "name-not-ascii": Code(
        _INFO,
        "The name is not ASCII. It is read as it is, but archives and other systems may change it.",
        "Rename it if the data set will be copied.",
    ),
    "case-clash": Code(
        _WARNING,
        "Two names in a folder differ only in case or in the encoding of accents. On other systems "
        "one file would overwrite the other.",
        "Rename one.",
    ),
    "link-loop": Code(
        _WARNING, "The link points to a parent folder. It is not followed.", "Remove the link."
    ),
    # Single files.
    "not-a-file": Code(
        _ERROR,
        "It has the name of an image, but is not a readable file.",
        "Remove or rename it, or fix the link.",
    ),
    "unreadable": Code(
        _ERROR,
        "The file is empty, truncated, damaged, or not of the type of its name.",
        "Fetch it again, or remove both halves of its pair.",
    ),
    "unavailable": Code(
        _ERROR,
        "The file cannot be read now: the disk, the network or the memory failed.",
        "Run the same command again.",
    ),
    "too-large": Code(
        _ERROR,
        "The image has more pixels than can be opened safely (decompression bomb).",
        "Remove it, or split it into smaller images with another program.",
    ),
    "unsupported-pixels": Code(
        _ERROR,
        "The pixels cannot be converted to 8-bit RGB faithfully.",
        "Convert it to 8-bit RGB with another program.",
    ),
    "wrong-extension": Code(
        _WARNING,
        "The format differs from the extension. The file is read by its content; a JPEG file named "
        ".png has JPEG artifacts.",
        "Rename it, or fetch the lossless file.",
    ),
    "converted": Code(
        _WARNING,
        "The file is not a single upright 8-bit RGB image. A build converts it.",
        "Check the result, or convert the file to 8-bit RGB yourself.",
    ),
    "color-profile": Code(
        _INFO, "The color profile is not sRGB. It is not applied.", "Convert it to sRGB."
    ),
    "modes-differ": Code(
        _WARNING, "The halves have different pixel formats.", "Fetch both in the same format."
    ),
    # Pairs.
    "identical-halves": Code(
        _ERROR, "Both halves are identical: there is no blur.", "Fetch the blurred half."
    ),
    "swapped-halves": Code(
        _ERROR, "The blurred half is clearly sharper than the sharp half.", "Swap the halves."
    ),
    "blur-not-softer": Code(
        _WARNING, "The blurred half is not softer than the sharp half.", "Inspect the pair."
    ),
    "nearly-identical": Code(
        _INFO, "The halves are nearly identical: there is little blur.", "Inspect the pair."
    ),
    "unlike-halves": Code(
        _ERROR, "The halves show different scenes.", "Inspect the pair; fetch or remove it."
    ),
    "misaligned": Code(
        _WARNING,
        "The halves are shifted by more than blur explains.",
        "Inspect the pair; align the halves or remove them.",
    ),
    "brightness-differs": Code(
        _WARNING,
        "The halves differ in brightness: a network would learn to change the exposure.",
        "Inspect the pair; check the exposure and tone curve of both halves.",
    ),
    "flat-picture": Code(
        _WARNING, "The sharp half is uniform.", "Inspect the image and remove it."
    ),
    # Whole data sets.
    "gamma-mixture": Code(
        _WARNING,
        "Some pairs were averaged as pixel values and others in linear light, such as GoPro's blur "
        "and blur_gamma. Scores on one do not carry over to the other.",
        "Build a data set from one of them.",
    ),
    "duplicate-across-splits": Code(
        _ERROR,
        "A sharp image is in two splits, so a network would be evaluated on training data.",
        "Remove it from one of them.",
    ),
    "near-duplicate-across-splits": Code(
        _WARNING,
        "Two splits contain nearly the same sharp image.",
        "Inspect both; remove one, or put their scenes into the same split.",
    ),
    "duplicate-in-split": Code(
        _INFO, "A sharp image is in a split more than once.", "Remove one, or keep both."
    ),
    # Built data sets.
    "build-unfinished": Code(
        _ERROR,
        "There are shards but no manifest: the build has not finished.",
        "Run the same build command again; it resumes.",
    ),
    "manifest-damaged": Code(
        _ERROR, "The manifest cannot be read.", "Fetch it again, or build the data set again."
    ),
    "shard-damaged": Code(
        _ERROR,
        "A shard is missing, truncated, altered, or contains an invalid record.",
        "Set --repair to remake it from the source, or fetch the data set again.",
    ),
    "records-inconsistent": Code(
        _ERROR,
        "The records contradict each other or the manifest.",
        "Build the data set again with --overwrite.",
    ),
    "shard-unlisted": Code(
        _WARNING,
        "The shard is not in the manifest. Training does not read it.",
        "Remove it if it is left over from another build; --repair does not touch it.",
    ),
    "partial-file": Code(
        _INFO, "Left over from an interrupted write.", "Remove it if no build is running."
    ),
    # Repair.
    "repaired": Code(_INFO, "The shard was remade and matches the manifest's SHA-256.", ""),
    "not-repaired": Code(
        _ERROR,
        "The shard could not be remade; nothing was changed.",
        "Fix the problem in the message, or build the data set again with --overwrite.",
    ),
}
