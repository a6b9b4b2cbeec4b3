"""The domain's pure functions: geometry, images, annotation formats, pre- and post-processing, metrics, drawing.

Every coordinate is in pixels of the *oriented* original image: its EXIF orientation is applied exactly once, when it is
decoded, and annotations, predictions and exports all refer to the result. Origin top-left, x right, y down, and a pixel
is the unit square between integers, so a box over a whole image is (0, 0, width, height).

Import from the submodules: this package loads nothing, because OpenCV is only needed by some of them.
"""
