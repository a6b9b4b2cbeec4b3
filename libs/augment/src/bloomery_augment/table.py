"""The rules: what each part of a policy asks for, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Range = tuple[float, float]
Steps = tuple[Range, Range, Range]
"""A range for each intensity, from low to high."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A transform that a part of a policy asks for.

    Attributes:
        transform: of `KINDS`.
        why: the reason, for people.
        ranges: what is drawn evenly from which range, by the names of the transform's arguments.
    """

    transform: str
    why: str
    ranges: Mapping[str, Steps]

    @classmethod
    def of(cls, transform: str, why: str, **ranges: Steps) -> "Rule":
        """A rule with its ranges as named arguments."""
        return cls(transform, why, ranges)


_SPOTS: Steps = ((0.02, 0.08), (0.03, 0.14), (0.05, 0.2))
_SHADOWS: Steps = ((0.15, 0.3), (0.2, 0.45), (0.3, 0.6))

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "changes_shape": (
            Rule.of("Affine", "soft or flexible objects look sheared", shear=((-4, 4), (-8, 8), (-15, 15))),
            Rule.of(
                "Perspective",
                "their outline changes with the side they are seen from",
                scale=((0.01, 0.03), (0.02, 0.06), (0.03, 0.1)),
            ),
            Rule.of("Bend", "they bend", amplitude_range=((0, 0.01), (0, 0.02), (0, 0.04))),
        ),
        "changes_size": (
            Rule.of("Affine", "objects come in many sizes", scale=((0.85, 1.15), (0.7, 1.3), (0.5, 1.5))),
        ),
        "reflective_surface": (
            Rule.of("Illumination", "highlights wander over the surface", intensity_range=_SPOTS),
            Rule.of(
                "RandomBrightnessContrast",
                "reflections make it brighter",
                brightness_limit=((0, 0.1), (0, 0.2), (0, 0.3)),
                contrast_limit=((-0.05, 0.1), (-0.1, 0.2), (-0.1, 0.3)),
            ),
        ),
        "low_contrast": (
            Rule.of(
                "RandomBrightnessContrast",
                "objects hardly stand out",
                brightness_limit=((-0.05, 0.05), (-0.1, 0.1), (-0.15, 0.15)),
                contrast_limit=((-0.2, 0.1), (-0.35, 0.15), (-0.5, 0.2)),
            ),
            Rule.of(
                "RandomGamma",
                "what tells them apart lies in the middle tones",
                gamma_limit=((85, 115), (70, 135), (60, 160)),
            ),
        ),
        "moves_or_vibrates": (
            Rule.of("MotionBlur", "objects move while the shutter is open", blur_limit=((3, 5), (3, 7), (3, 13))),
            Rule.of("GaussianBlur", "they leave the plane of focus", sigma_limit=((0.3, 0.8), (0.3, 1.2), (0.5, 2.0))),
        ),
        "semi_transparent": (
            Rule.of(
                "RandomBrightnessContrast",
                "what lies behind shines through",
                brightness_limit=((0, 0.1), (-0.05, 0.15), (-0.1, 0.25)),
                contrast_limit=((-0.2, 0), (-0.35, 0), (-0.5, 0)),
            ),
            Rule.of(
                "HueSaturationValue",
                "they take the colour of what is behind",
                hue_shift_limit=((-5, 5), (-8, 8), (-12, 12)),
                sat_shift_limit=((-20, 10), (-40, 15), (-60, 20)),
                val_shift_limit=((-5, 5), (-10, 10), (-15, 15)),
            ),
            Rule.of("Illumination", "light from behind differs from place to place", intensity_range=_SPOTS),
        ),
        "similar_to_background": (
            Rule.of(
                "HueSaturationValue",
                "colour must not be what tells them apart",
                hue_shift_limit=((-5, 5), (-10, 10), (-18, 18)),
                sat_shift_limit=((-20, 20), (-35, 35), (-60, 60)),
                val_shift_limit=((-10, 10), (-20, 20), (-30, 30)),
            ),
            Rule.of("ToGray", "shape and texture must be enough"),
            Rule.of(
                "RandomBrightnessContrast",
                "their edges are faint",
                brightness_limit=((-0.05, 0.05), (-0.1, 0.1), (-0.15, 0.15)),
                contrast_limit=((-0.15, 0.15), (-0.25, 0.2), (-0.4, 0.25)),
            ),
        ),
        "multiple_objects": (
            Rule.of(
                "Affine",
                "there are more of them, elsewhere and smaller",
                scale=((0.85, 1), (0.7, 1), (0.55, 1)),
                translate_percent=((-0.05, 0.05), (-0.1, 0.1), (-0.15, 0.15)),
            ),
            Rule.of(
                "HideParts",
                "they lie in front of each other",
                num_holes_range=((1, 2), (1, 4), (2, 6)),
                hole_height_range=((0.03, 0.06), (0.04, 0.08), (0.05, 0.12)),
                hole_width_range=((0.03, 0.06), (0.04, 0.08), (0.05, 0.12)),
            ),
        ),
        "partially_hidden": (
            Rule.of(
                "HideParts",
                "only parts of them can be seen",
                num_holes_range=((1, 3), (2, 6), (3, 9)),
                hole_height_range=((0.04, 0.1), (0.05, 0.15), (0.06, 0.2)),
                hole_width_range=((0.04, 0.1), (0.05, 0.15), (0.06, 0.2)),
            ),
        ),
        "lighting=variable": (
            Rule.of(
                "RandomBrightnessContrast",
                "the light is brighter at times",
                brightness_limit=((-0.1, 0.1), (-0.2, 0.2), (-0.3, 0.3)),
                contrast_limit=((-0.1, 0.1), (-0.2, 0.2), (-0.3, 0.3)),
            ),
            Rule.of("RandomGamma", "exposure follows it", gamma_limit=((85, 115), (75, 130), (60, 160))),
            Rule.of("RandomShadow", "shadows come and go", shadow_intensity_range=_SHADOWS),
            Rule.of(
                "PlanckianJitter",
                "daylight and lamps have other colours",
                temperature_limit=((5500, 8000), (4500, 10000), (3000, 14000)),
            ),
        ),
        "lighting=poor": (
            Rule.of(
                "RandomBrightnessContrast",
                "there is little light",
                brightness_limit=((-0.2, 0.05), (-0.35, 0.05), (-0.5, 0.1)),
                contrast_limit=((-0.15, 0.05), (-0.25, 0.1), (-0.4, 0.1)),
            ),
            Rule.of("RandomGamma", "shadows are deep", gamma_limit=((90, 130), (80, 160), (70, 200))),
            Rule.of("GaussNoise", "sensors are noisy in the dark", std_range=((0.01, 0.03), (0.02, 0.06), (0.03, 0.1))),
        ),
        "camera=moving": (
            Rule.of(
                "MotionBlur", "the camera moves on while the shutter is open", blur_limit=((3, 5), (3, 7), (3, 11))
            ),
            Rule.of(
                "Affine",
                "objects are anywhere in the picture",
                translate_percent=((-0.05, 0.05), (-0.1, 0.1), (-0.15, 0.15)),
            ),
            Rule.of(
                "ImageCompression",
                "what moves is recorded with fewer bits",
                quality_range=((70, 95), (50, 90), (30, 85)),
            ),
        ),
        "camera=shaky": (
            Rule.of("MotionBlur", "the camera shakes while the shutter is open", blur_limit=((3, 7), (3, 9), (3, 15))),
            Rule.of(
                "Affine",
                "the horizon tilts",
                rotate=((-2, 2), (-4, 4), (-8, 8)),
                translate_percent=((-0.03, 0.03), (-0.06, 0.06), (-0.1, 0.1)),
            ),
            Rule.of("Perspective", "the camera nods", scale=((0.01, 0.02), (0.02, 0.04), (0.02, 0.06))),
        ),
        "background=busy": (
            Rule.of(
                "HideParts",
                "things get into the way",
                num_holes_range=((1, 2), (1, 3), (2, 5)),
                hole_height_range=((0.03, 0.08), (0.04, 0.12), (0.05, 0.16)),
                hole_width_range=((0.03, 0.08), (0.04, 0.12), (0.05, 0.16)),
            ),
            Rule.of("RandomShadow", "things cast shadows", shadow_intensity_range=_SHADOWS),
        ),
        "background=changing": (
            Rule.of("RandomGamma", "the camera adapts to each of them", gamma_limit=((90, 115), (80, 125), (70, 145))),
            Rule.of(
                "HueSaturationValue",
                "backgrounds have other colours",
                hue_shift_limit=((-6, 6), (-12, 12), (-20, 20)),
                sat_shift_limit=((-15, 15), (-30, 30), (-50, 50)),
                val_shift_limit=((-10, 10), (-20, 20), (-30, 30)),
            ),
            Rule.of("Illumination", "they are lit differently", intensity_range=_SPOTS),
        ),
        "distance=variable": (
            Rule.of("Affine", "objects are nearer or farther away", scale=((0.8, 1.2), (0.6, 1.4), (0.4, 1.6))),
            Rule.of(
                "Downscale", "what is far away has little detail", scale_range=((0.6, 0.9), (0.4, 0.8), (0.25, 0.7))
            ),
        ),
        "distance=close": (
            Rule.of("Affine", "objects fill the picture", scale=((1, 1.2), (1, 1.4), (1, 1.7))),
            Rule.of(
                "GaussianBlur",
                "close objects leave the plane of focus",
                sigma_limit=((0.3, 0.8), (0.3, 1.2), (0.5, 2.0)),
            ),
        ),
    }
)
"""By characteristic, or by setting of the environment."""
