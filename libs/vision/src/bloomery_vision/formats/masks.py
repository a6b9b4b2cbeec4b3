"""Which pictures are not photographs but the masks of some, as Pascal VOC, COCO's panoptic sets and others keep them.

A folder whose name stands for masks in a public set holds nothing else. Elsewhere a picture is a mask only where its
name says so and the picture that it belongs to is there too.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from bloomery_vision.formats.names import base_of, fold, folder_of, split_suffix
from bloomery_vision.formats.split_words import split_of

_ALWAYS = re.compile(r"^(segmentation(class|object)\w*|panoptic(?!.*images).*)$")
_DRAWN = re.compile(r"^segmentation(class|object)visuali[sz]ation$")
"""Masks drawn for people, as labelme2voc.py does: these may be JPEG."""
_WITH_TWIN = re.compile(
    r"^((stuff(thing)?|semantic|instance|binary|gt|seg|label)?[-_ ]?(masks?|maps?)|gt(fine|coarse)?|ground[-_ ]?truth"
    r"|seg(mentations?)?|annotations?|labels?|semantics?|instances?)$"
)
_BESIDE = re.compile(
    r"(?<=.)[-_. ](masks?|seg|segmentation|gt|panoptic|semantic|instances?|labels?|annotations?"
    r"|gt(fine|coarse)_(color|labelids|instanceids|labeltrainids)"
    r"|(color|label|instance)_?(mask|ids?|map))(?P<number>[-_. ]\d+)?$"
)
_OF_CAMERA = re.compile(r"(?<=.)[-_. ](leftimg8bit|rgb|image|img)$")
"""What stands in the name of a photograph where that of its mask has another word."""

_LOSSLESS = frozenset({".bmp", ".gif", ".png", ".tif", ".tiff"})
"""The endings of masks: JPEG would blur their edges."""


_PHOTOGRAPHS = re.compile(
    r"^(jpeg)?(images?|imgs?|photos?|pictures?|frames?|rgb|inputs?|raw|leftimg8bit|originals?)([-_ ]?\d+)?$"
)


def mask_pictures(pictures: Iterable[str], labels: Callable[[], Iterable[str]]) -> frozenset[str]:
    """The pictures that are masks; `labels` gives the files that may label a picture, and is asked where one may be.

    A picture with a label file of its own is a photograph, unless its folder holds nothing but masks.
    """
    kind_of = lru_cache(maxsize=1 << 14)(_kind)
    suspects = {
        name
        for name in pictures
        if (kind := kind_of(folder_of(name))) is _DRAWN
        or (split_suffix(base_of(name))[1] in _LOSSLESS and (kind or _BESIDE.search(_stem(name))))
    }
    if not suspects:
        return frozenset()
    labelled = {fold(name.rpartition(".")[0]) for name in labels()}
    photographs = _Photographs(name for name in pictures if name not in suspects)
    return frozenset(
        name
        for name in suspects
        if kind_of(folder_of(name)) in (_DRAWN, _ALWAYS)
        or (fold(name.rpartition(".")[0]) not in labelled and photographs.has(name))
    )


class _Photographs:
    """Whether the picture that a mask would belong to is there.

    A class of images may be called `mask` (of faces): so the picture lies in a folder for photographs, or above its
    mask, or is a JPEG that is in no folder of a class.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._placed: set[tuple[str, str]] = set()
        self._stems: set[str] = set()
        for name in names:
            folder, stem = folder_of(name), _stem(name)
            self._placed.add((folder, stem))
            if _is_photograph(name):
                self._stems |= {stem, _OF_CAMERA.sub("", stem)}

    def has(self, mask: str) -> bool:
        """Whether it is."""
        folder, stem = folder_of(mask), _stem(mask)
        # A number behind the word may be the mask's or the photograph's.
        bare = {_BESIDE.sub("", stem), _BESIDE.sub(r"\g<number>", stem)}
        return (
            not (bare | {stem}).isdisjoint(self._stems)
            or (folder_of(folder), stem) in self._placed
            or any((folder, one) in self._placed for one in bare - {stem})
        )


def _is_photograph(name: str) -> bool:
    folder = folder_of(name)
    if any(map(_PHOTOGRAPHS.match, folder.lower().split("/"))):
        return True
    return split_suffix(base_of(name))[1] not in _LOSSLESS and not split_of(folder)


def _kind(folder: str) -> re.Pattern[str] | None:
    parts = folder.lower().split("/")
    return next((kind for kind in (_DRAWN, _ALWAYS, _WITH_TWIN) if any(map(kind.match, parts))), None)


def _stem(name: str) -> str:
    return split_suffix(fold(base_of(name)))[0]
