"""What the doctor can find, under stable names: how grave it is, what it means, what to do."""

import dataclasses
import enum
from collections.abc import Iterable


class Severity(enum.IntEnum):
    """How grave a finding is; the gravest one decides the exit code."""

    INFO = 0
    WARNING = 1
    ERROR = 2


# 1 is Python's own, 2 a wrong use of the command, 128 and above signals.
EXIT_CODES = {Severity.INFO: 0, Severity.WARNING: 3, Severity.ERROR: 4}


@dataclasses.dataclass(frozen=True)
class Code:
    """A kind of finding: how grave it is, what it means and what to do about it."""

    severity: Severity
    meaning: str
    cure: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that the doctor found.

    Attributes:
        code: Its kind, a key of `CODES`.
        file: The file, folder, shard, pair or scene that it is about.
        detail: What was seen there, in a sentence; may be empty.
    """

    code: str
    file: str
    detail: str = ""

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return CODES[self.code].severity


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Returns findings without repetition: the gravest first, then by code, file and detail."""
    key = {f: (-f.severity, f.code, f.file, f.detail) for f in findings}
    return sorted(key, key=lambda finding: key[finding])


_INFO, _WARNING, _ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR
_FETCH = "Fetch it again, or remove both halves of its pair."
_REPAIR = "Give --repair to make it again from the source, or fetch the set again."

CODES: dict[str, Code] = {
    # The layout.
    "layout-unknown": Code(
        _ERROR,
        "No source recognizes this layout.",
        "Say how to read it: --source NAME with the options of that source.",
    ),
    "layout-faulty": Code(
        _ERROR, "The source that was asked cannot list this set.", "Mend what the sentence names."
    ),
    "missing-half": Code(_ERROR, "A picture has no other half.", "Fetch the half, or remove this."),
    "missing-folder": Code(
        _ERROR, "A folder of one half of a scene is missing.", "Fetch it, or remove the scene."
    ),
    "empty-folder": Code(_ERROR, "A folder of a scene holds no pictures.", "Fetch or remove it."),
    "same-name": Code(
        _ERROR, "Two pictures would be the same half of the same pair.", "Rename or remove one."
    ),
    "unknown-name": Code(
        _ERROR, "A name does not say to which scene the picture belongs.", "Rename it."
    ),
    "scene-in-two-splits": Code(
        _ERROR,
        "A scene is in two splits: a network would be judged on what it has trained on.",
        "Remove it from one of them.",
    ),
    "bad-clip": Code(_ERROR, "A clip cannot be read.", "Fetch it again, or remove it."),
    "size-differs": Code(
        _ERROR, "The halves of a pair differ in size.", "Fetch both halves again or remove both."
    ),
    "odd-size": Code(
        _WARNING,
        "A few pictures are of another size than nearly all others of their split.",
        "Look whether they were cropped or turned; a build wants --tile or --resize for them.",
    ),
    "sizes-vary": Code(
        _INFO, "Pictures of a split differ in size.", "Build with --tile, --test-tile or --resize."
    ),
    # Names and links.
    "name-not-ascii": Code(
        _INFO,
        "A name has letters beyond ASCII. It is read as it is, but archives and other systems may "
        "change it.",
        "Rename it if the set is to travel.",
    ),
    "name-not-utf8": Code(
        _ERROR, "A name is no UTF-8 text, so it cannot be stored in a record.", "Rename it."
    ),
    "case-clash": Code(
        _WARNING,
        "Two names in a folder differ in nothing but capital letters or in how accents are "
        "written. Here they are two files; on other systems one overwrites the other.",
        "Rename one.",
    ),
    "link-loop": Code(
        _WARNING, "A link leads to a folder above itself. It is not followed.", "Remove the link."
    ),
    "not-a-file": Code(
        _ERROR, "It has a picture's name but is no file that can be read.", "Remove or rename it."
    ),
    "missing": Code(_ERROR, "A link leads to a file that does not exist.", "Mend the link."),
    # Single files.
    "empty-file": Code(_ERROR, "The file has zero bytes.", _FETCH),
    "not-a-picture": Code(_ERROR, "The file is no picture, whatever its name says.", _FETCH),
    "truncated": Code(_ERROR, "The file was cut off.", _FETCH),
    "damaged": Code(_ERROR, "The file is damaged.", _FETCH),
    "too-large": Code(
        _ERROR,
        "The file claims more pixels than can be opened safely: a decompression bomb.",
        "Remove it, or cut it into smaller pictures by another program.",
    ),
    "float-pixels": Code(
        _ERROR, "Pixels are floating-point numbers of unknown scale.", "Convert it to 8 bits."
    ),
    "odd-colors": Code(_ERROR, "Its colors cannot be turned into RGB.", "Convert it to RGB."),
    "wrong-ending": Code(
        _WARNING,
        "The file is of another format than its name says. It is read by its content; a JPEG that "
        "is called .png has the losses of a JPEG.",
        "Rename it, or fetch the lossless file.",
    ),
    "gray": Code(_WARNING, "The picture is gray. A build makes three equal channels.", "Check it."),
    "cmyk": Code(
        _WARNING,
        "The picture is CMYK. A build converts it by a plain formula, without its profile.",
        "Convert it to RGB by a program that knows its profile.",
    ),
    "deep-pixels": Code(
        _WARNING, "It has 16 bits a channel. A build scales them to 8.", "Check the tone curve."
    ),
    "alpha": Code(
        _WARNING, "It has transparent parts. A build lays them over white.", "Remove the alpha."
    ),
    "palette": Code(_WARNING, "It has a palette of at most 256 colors.", "Fetch it in full color."),
    "odd-mode": Code(_WARNING, "Its pixels are not RGB. A build converts them.", "Check it."),
    "exif-rotated": Code(
        _WARNING,
        "The picture lies on its side and EXIF data turns it. A build turns it upright; programs "
        "that ignore EXIF do not.",
        "Store it upright if others read the set.",
    ),
    "several-frames": Code(
        _WARNING, "The file holds several frames. A build takes the first.", "Check it."
    ),
    "color-profile": Code(
        _INFO, "It has a color profile other than sRGB, which is not applied.", "Convert to sRGB."
    ),
    "modes-differ": Code(
        _WARNING, "The halves are of different kinds of pixels.", "Fetch both in the same form."
    ),
    # Pairs.
    "identical-halves": Code(
        _ERROR, "Both halves are the same picture: there is no blur.", "Fetch the blurred half."
    ),
    "swapped-halves": Code(
        _ERROR, "The blurred half is clearly sharper than the sharp one.", "Exchange the halves."
    ),
    "blur-not-softer": Code(
        _WARNING, "The blurred half is no softer than the sharp one.", "Look at the pair."
    ),
    "nearly-identical": Code(
        _INFO, "The halves hardly differ: there is next to no blur.", "Look at the pair."
    ),
    "unlike-halves": Code(
        _ERROR, "The halves do not show the same scene.", "Look at the pair; fetch or remove it."
    ),
    "misaligned": Code(
        _WARNING,
        "The halves are shifted against each other by more than blur explains.",
        "Look at the pair; align the halves or remove them.",
    ),
    "brightness-differs": Code(
        _WARNING,
        "The halves differ in brightness: a network would learn to change exposure.",
        "Look at the pair; check exposure and tone curve of both halves.",
    ),
    "flat-picture": Code(
        _WARNING, "The sharp half shows nothing: all its pixels are alike.", "Look; remove it."
    ),
    # Whole sets.
    "gamma-mixture": Code(
        _WARNING,
        "Some pairs were averaged as stored values and others in linear light, such as GoPro's "
        "blur and blur_gamma: scores on one say nothing about the other.",
        "Build a set from one of them.",
    ),
    "duplicate-across-splits": Code(
        _ERROR,
        "The same sharp picture is in two splits: a network would be judged on what it has "
        "trained on.",
        "Remove it from one of them.",
    ),
    "near-duplicate-across-splits": Code(
        _WARNING,
        "Nearly the same sharp picture is in two splits.",
        "Look at both; remove one, or put their scenes into the same split.",
    ),
    "duplicate-in-split": Code(
        _INFO, "The same sharp picture is in a split more than once.", "Remove one, or keep both."
    ),
    # Built sets.
    "build-unfinished": Code(
        _ERROR,
        "There are shards but no manifest: the build has not finished.",
        "Run the command that built it again: it goes on where it stopped.",
    ),
    "manifest-damaged": Code(
        _ERROR, "The manifest cannot be read.", "Fetch it again, or build the set again."
    ),
    "count-differs": Code(
        _ERROR, "The numbers of records disagree.", "Build the set again with --overwrite."
    ),
    "shard-missing": Code(_ERROR, "A shard of the manifest is not there.", _REPAIR),
    "shard-truncated": Code(_ERROR, "A shard was cut off.", _REPAIR),
    "shard-altered": Code(
        _ERROR, "A shard was altered: its size or SHA-256 is not that of the manifest.", _REPAIR
    ),
    "shard-damaged": Code(_ERROR, "A shard holds a record that cannot be read.", _REPAIR),
    "shard-unlisted": Code(
        _WARNING,
        "A shard that the manifest does not know. Training does not read it.",
        "Remove it if it is the rest of another build; --repair leaves it alone.",
    ),
    "partial-file": Code(
        _INFO, "The rest of a file whose writing was broken off.", "Remove it, if no build runs."
    ),
    "record-repeated": Code(
        _ERROR, "The same tile is in a set more than once.", "Build the set again."
    ),
    "record-out-of-frame": Code(
        _ERROR, "A tile lies outside of the frame that it is said to be from.", "Build it again."
    ),
    "record-strange-scene": Code(
        _ERROR, "A record names a scene that its split does not list.", "Build the set again."
    ),
    # Repair.
    "repaired": Code(_INFO, "The shard was made again and has the manifest's checksum.", ""),
    "not-repaired": Code(
        _ERROR,
        "The shard could not be made again; nothing was changed.",
        "Mend what the sentence names, or build the set again with --overwrite.",
    ),
}
