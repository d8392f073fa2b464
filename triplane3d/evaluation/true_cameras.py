"""The true cameras of the framed photos that a pipeline reads, and the errors of estimated cameras.

A pipeline crops a photo to a square around the object. The true camera of this square has the pose of the photo's
camera. Its window is the part of the photo's window that the square covers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from triplane3d.evaluation.evaluation_shapes import EvaluationShape
from triplane3d.geometry.framed_cameras import FramedCameras
from triplane3d.images.image_processor import foreground_squares
from triplane3d.images.photo_batch import PhotoBatch


def true_camera(shape: EvaluationShape, foreground_ratio: float) -> FramedCameras:
    """The camera of the shape's image after a pipeline with this `foreground_ratio` has framed it; a batch of one.

    Raises ValueError if the shape has no image with a known camera.
    """
    if shape.camera is None or shape.window is None:
        raise ValueError(f"{shape.name} has no image with a known framing: create the shape with image_size")
    ((cut_out, _),) = PhotoBatch.of_single_photos(shape.pil_image).cut_out()
    crop = foreground_squares(cut_out[None, 3:], foreground_ratio=foreground_ratio)[0]
    window = cropped_window(shape.window.double(), crop.double(), cut_out.shape[-1])
    return FramedCameras.from_windows(torch.tensor([shape.camera.elevation]), window[None].float())


def cropped_window(window: Float[Tensor, " 4"], crop: Float[Tensor, " 3"], size: int) -> Float[Tensor, " 4"]:
    """The window of a square crop of a picture.

    Args:
        window: of the whole picture: distance of the camera, centre (right, up) and half side (`data.sample`).
        crop: left border, upper border and side of the crop, in pixels (`foreground_squares`).
        size: side of the whole picture in pixels.
    """
    distance, right, up, half = window
    left, top, side = crop
    pixel = 2 * half / size
    across, down = left + side / 2 - size / 2, top + side / 2 - size / 2
    return torch.stack([distance, right + pixel * across, up - pixel * down, half * side / size])


def camera_errors(estimated: FramedCameras, true: FramedCameras) -> dict[str, float]:
    """Errors of one camera; both are batches of one.

    - `elevation_error`: in degrees.
    - `offset_error`: distance of the origin's places in the framed photo, as a share of the photo's side.
    - `scale_error`: ratio of the larger scale to the smaller one, less 1.
    """
    ratio = (estimated.scale / true.scale).log().abs().exp()
    return {
        "elevation_error": float((estimated.elevation - true.elevation).abs()),
        "offset_error": float((estimated.offset - true.offset).norm() / 2),
        "scale_error": float(ratio - 1),
    }
