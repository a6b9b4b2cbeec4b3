"""Reads Pascal VOC: one XML file an image, and lists of names for the splits.

VOC counts pixels from 1 and includes both corners (VOC2012 development kit, section "Annotation guidelines"; the real
files reach from 1 to the image's width), so the box from xmin to xmax spans xmin - 1 to xmax here. A box of one pixel,
xmin = xmax, is thus legal, and comes with a warning. Many programs that write the format count from 0: see `voc_claim`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from xml.etree.ElementTree import Element

from bloomery_vision.findings import Finding, Severity
from bloomery_vision.formats.cleaning import (
    About,
    Stated,
    annotated,
    as_finding,
    clean,
    failed,
    measure,
    orientation_of,
    unannotated,
)
from bloomery_vision.formats.joining import joined
from bloomery_vision.formats.model import FormatError, ImportItem
from bloomery_vision.formats.plan import Plan
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.voc_xml import declared_size, objects, parse, text


def read_voc(source: Source, plan: Plan, images: Iterable[str]) -> Iterator[ImportItem]:
    """One item for each of `images`, and for each label file without one."""
    for image in images:
        label = plan.label_of.get(image)
        yield _read(source, plan, image, label) if label else unannotated(source, image, plan.splits.get(image))
    for label, problem in plan.unplaced.items():
        yield failed(label, problem, annotation_path=label)


def _read(source: Source, plan: Plan, image: str, label: str) -> ImportItem:
    size = measure(source, image)
    if isinstance(size, Finding):
        return failed(image, size, annotation_path=label)
    files: list[tuple[str, Element]] = []
    broken: list[Finding] = []
    for name in (label, *plan.more_labels.get(image, ())):
        try:
            files.append((name, parse(source, name)))
        except FormatError as problem:
            broken.append(_told(problem, name))
    if not files:
        return _without_labels(source, plan, image, label, broken)
    first, root = files[0]
    sizes = [(name, declared_size(tree)) for name, tree in files]
    stated = [Stated(name, declared, orientation_of(source, image, size, declared)) for name, declared in sizes]
    parts = [
        (name, clean(objects(tree, name, origin=plan.pixel_origin), size, one.orientation))
        for (name, tree), one in zip(files, stated, strict=True)
    ]
    about = About(
        first,
        plan.splits.get(image),
        stated=stated,
        problems=broken,
        source_name=text(root, "filename"),
    )
    return annotated(image, size, joined(parts), about)


def _told(problem: FormatError, name: str) -> Finding:
    found = as_finding(problem, name)
    return replace(found, severity=Severity.WARNING) if problem.code == "OTHER_FORMAT" else found


def _without_labels(source: Source, plan: Plan, image: str, label: str, problems: Sequence[Finding]) -> ImportItem:
    """The item of an image whose files cannot be read: what is no label file by its own word costs no image."""
    for problem in problems:
        if problem.severity is Severity.ERROR:
            return failed(image, problem, annotation_path=label)
    return replace(unannotated(source, image, plan.splits.get(image)), problems=tuple(problems))
