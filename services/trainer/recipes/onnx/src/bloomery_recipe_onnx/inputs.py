"""How a model takes images: found out from its graph, or asked for."""

from bloomery_recipe_onnx.foreign import NCHW, NHWC, SCALES, InputForm, Scale
from bloomery_recipe_onnx.graph import Graph, Value
from bloomery_recipe_onnx.stated import Stated

_CHANNELS = {NCHW: 1, NHWC: 3}
"""The axis of red, green and blue."""


def input_form(graph: Graph, said: Stated, task: str, problems: list[str]) -> InputForm | None:
    """How it takes images. What is wrong or missing goes to `problems`; None where it cannot even be tried."""
    if len(graph.inputs) != 1:
        listed = ", ".join(f"{one.name} {one}" for one in graph.inputs) or "none"
        problems.append(f"it takes {len(graph.inputs)} inputs ({listed}): export it with one, the images")
        return None
    [value] = graph.inputs
    if value.data_type not in ("float32", "uint8") or len(value.dims) != 4:
        problems.append(f"its input {value.name} is {value}: images are taken as float32 or uint8 with four axes")
        return None
    layout = _layout(value, said.layout, problems)
    size = _size(value, layout, said, problems) if layout else None
    if layout is None or size is None:
        return None
    if task == "classify" and size[0] != size[1]:
        problems.append(f"its input is {size[1]} x {size[0]}: a classifier sees the square in the middle of an image")
    return InputForm(value.name, value.data_type, layout, size, _scale(value, said, problems), value.dims[0])


def _layout(value: Value, said: str, problems: list[str]) -> str | None:
    possible = [layout for layout, axis in _CHANNELS.items() if value.dims[axis] in (3, None)]
    sure = [layout for layout in possible if value.dims[_CHANNELS[layout]] == 3]
    if said:
        if said not in possible:
            problems.append(f"--layout {said}: its input is {value}, whose channels lie elsewhere")
        return said if said in possible else None
    if len(sure) == 1:
        return sure[0]
    if not possible:
        problems.append(f"its input is {value}: three channels are needed, red, green and blue")
    else:
        problems.append(f"its input is {value}: say by --layout nchw or nhwc which axis holds the channels")
    return None


def _size(value: Value, layout: str, said: Stated, problems: list[str]) -> tuple[int, int] | None:
    height, width = value.dims[2:] if layout == NCHW else value.dims[1:3]
    fixed = (height, width)
    if height and width:
        if said.size and said.size != fixed:
            problems.append(f"--input {said.size[1]}x{said.size[0]}: its input is fixed to {width}x{height}")
        return height, width
    if said.size is None:
        problems.append("it takes images of any size: say by --input WIDTHxHEIGHT which, such as --input 640x640")
        return None
    if any(own not in (None, wanted) for own, wanted in zip(fixed, said.size, strict=True)):
        problems.append(f"--input {said.size[1]}x{said.size[0]}: its input is {value}")
        return None
    return said.size


def _scale(value: Value, said: Stated, problems: list[str]) -> Scale | None:
    if value.data_type == "uint8":
        if said.scale not in ("", "none"):
            problems.append(f"--scale {said.scale}: it takes bytes, which it scales by itself; leave --scale out")
        return None
    if not said.scale:
        known = ", ".join(SCALES)
        problems.append(f"it takes floats: say by --scale what it takes for a pixel's value, one of {known}")
    # Without one it can be tried all the same, so that everything that is missing is told at once.
    return SCALES[said.scale or "1/255"]
