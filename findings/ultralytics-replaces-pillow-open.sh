#!/usr/bin/env bash
# Once Ultralytics is imported, Pillow raises ImportError, or installs a package, for every file that is no image.
#
# Versions: ultralytics 8.4.190, torch 2.15.0, Pillow 12.3.0, Python 3.11, CPU. Installs some GB: PyPI's torch for
#           Linux brings CUDA with it.
# Input:    a text file; it is opened with PIL.Image.open before and after `import ultralytics`, without the package
#           pi-heif and with its automatic installation turned off.
# Expected: PIL.UnidentifiedImageError both times: the program only asked Pillow, and only for JPEG and PNG.
# Seen:     UnidentifiedImageError before, ModuleNotFoundError (pi_heif) after: the import replaces PIL.Image.open by a
#           function that looks for a HEIF plugin at each unidentified file. Where automatic installation is on, which
#           is the default, it runs pip first, in whatever program it was imported into.
# Why care: whoever catches UnidentifiedImageError (or OSError) to skip what is broken stops at the first broken file,
#           though only if something has imported Ultralytics before: a loader of data, a service that checks uploads.
# Instead:  keep Pillow's function from before the import and put it back afterwards, or call the kept one.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile uv==0.13.8 # unpacks gigabytes many times as fast as pip
venv/bin/uv pip install --quiet --python venv/bin/python ultralytics==8.4.190 torch==2.15.0 pillow==12.3.0
export YOLO_OFFLINE=1 YOLO_AUTOINSTALL=false YOLO_CONFIG_DIR=$place
venv/bin/python - <<'PY'
import io

from PIL import Image


def opened() -> str:
    try:
        Image.open(io.BytesIO(b"this is no image"), formats=["JPEG", "PNG"])
    except Exception as error:
        return type(error).__name__
    return "an image"


before, own = opened(), Image.open
import ultralytics

after = opened()
Image.open = own
print(f"before the import {before}, after it {after}, with Pillow's own function again {opened()}")
if (before, after, opened()) != ("UnidentifiedImageError", "ModuleNotFoundError", "UnidentifiedImageError"):
    raise SystemExit("this is not what the header says")
PY
