"""The training library changes nothing for what runs beside it."""

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import sys
from pathlib import Path
from PIL import Image
from bloomery_recipe_yolo.environment import prepare

opened = Image.open
prepare(Path(sys.argv[1]), Path(sys.argv[1]))
import ultralytics
from bloomery_vision.images import ImageError, decode

assert Image.open is opened
try:
    decode(b"no image")
except ImageError as refusal:
    print(refusal.code)
"""


def test_what_is_no_image_is_refused_as_without_the_library(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == ["NOT_AN_IMAGE"], done.stderr
