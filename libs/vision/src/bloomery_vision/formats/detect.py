"""Recognises the format of a folder, and reads it."""

from collections.abc import Iterator

from bloomery_vision.formats.lookup import is_image
from bloomery_vision.formats.model import Format, FormatError, FormatGuess, ImportItem, LabelSpec
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.table import FORMATS


def detect(source: Source) -> FormatGuess:
    """The one format that the files of a source are in, and which of them matter; images alone are one too.

    Raises:
        FormatError: UNKNOWN_FORMAT; AMBIGUOUS_FORMAT where the files fit several.
    """
    images_only = FORMATS[Format.IMAGES]
    guesses = [guess for one in FORMATS.values() if one is not images_only and (guess := one.detect(source))]
    if len(guesses) > 1:
        why = "; ".join(f"{guess.format}: {guess.why}" for guess in guesses)
        hint = "name the format, on the command line by `--format`"
        raise FormatError("AMBIGUOUS_FORMAT", f"the files fit several formats ({why})", hint)
    guess = guesses[0] if guesses else images_only.detect(source)
    if guess is None:
        count = sum(map(is_image, source.names()))
        layouts = "; ".join(one.layout for one in FORMATS.values())
        hint = f"{layouts}. To import the images without labels, name the format `images`"
        raise FormatError("UNKNOWN_FORMAT", f"no labels that are understood beside {count} images", hint)
    return guess


def read(source: Source, file_format: Format) -> Iterator[ImportItem]:
    """What the files of a format say, image by image; a broken file costs its own items only.

    Raises:
        FormatError: before the first item, where the files cannot be read at all.
    """
    return FORMATS[file_format].read(source)


def read_labels(source: Source, file_format: Format) -> tuple[LabelSpec, ...]:
    """The labels that the files name or use, each once.

    Raises:
        FormatError: where the file that names them cannot be used.
    """
    return FORMATS[file_format].labels(source)
