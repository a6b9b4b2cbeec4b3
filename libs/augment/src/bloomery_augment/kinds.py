"""The transforms that policies know: what each does, and in which order."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Kind:
    """A transform.

    Attributes:
        does: what it does to an image, for people.
        units: of its ranges, by their names; empty for a plain number.
        moves: whether pixels go elsewhere, and labels with them.
    """

    does: str
    units: Mapping[str, str]
    moves: bool = False


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Affine": Kind(
            "zooms, shifts, turns and shears",
            {"scale": "times", "translate_percent": "of the side", "rotate": "degrees", "shear": "degrees"},
            moves=True,
        ),
        "Perspective": Kind("looks from another side", {"scale": "of the side"}, moves=True),
        "Bend": Kind("bends in waves", {"amplitude_range": "of the side"}, moves=True),
        "RandomShadow": Kind("casts a shadow", {"shadow_intensity_range": ""}),
        "Illumination": Kind("lights a part more than the rest", {"intensity_range": ""}),
        "RandomBrightnessContrast": Kind(
            "changes brightness and contrast", {"brightness_limit": "of white", "contrast_limit": "of itself"}
        ),
        "RandomGamma": Kind("changes the middle tones", {"gamma_limit": "%"}),
        "PlanckianJitter": Kind("changes the colour of the light", {"temperature_limit": "K"}),
        "HueSaturationValue": Kind(
            "changes colours", {"hue_shift_limit": "of 180", "sat_shift_limit": "of 255", "val_shift_limit": "of 255"}
        ),
        "ToGray": Kind("takes the colours away", {}),
        "MotionBlur": Kind("smears along a line", {"blur_limit": "px"}),
        "GaussianBlur": Kind("blurs, as out of focus", {"sigma_limit": "px"}),
        "Downscale": Kind("loses detail, as from far away", {"scale_range": "times"}),
        "GaussNoise": Kind("adds noise of the sensor", {"std_range": "of white"}),
        "ImageCompression": Kind("compresses as JPEG", {"quality_range": "%"}),
        "HideParts": Kind(
            "covers parts; their labels stay",
            {"num_holes_range": "", "hole_height_range": "of the height", "hole_width_range": "of the width"},
        ),
    }
)
"""All transforms, in the order in which they are done: what moves pixels first, what a camera adds last."""
