"""Stage 5: trains the refiner, which corrects a generated field by its photo and predicts the photo's camera.

    python scripts/train_refiner.py configs/mini/refiner.yaml

The pipeline's other models are frozen. Their errors are those of the latents that `scripts/draw_latents.py` has
generated from the same photos. The architecture comes from the folder `refiner` of the pipeline.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from triplane3d.config import RefinerConfig, RefinerDataConfig, RefinerLossConfig
from triplane3d.data.latents import LatentDataset, LatentPhotoDataset
from triplane3d.data.shards import ShardDataset
from triplane3d.geometry.framed_cameras import UNITS, FramedCameras
from triplane3d.images.augmentation import augment_views, premultiply
from triplane3d.images.image_processor import normalize_framed
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.photo_plane import PhotoPlaneRefiner
from triplane3d.models.triplane import TriplaneField
from triplane3d.training.field_pictures import field_pictures
from triplane3d.training.inputs import check_files, check_model, check_pipeline
from triplane3d.training.losses import occupancy_iou, occupancy_loss, soft_iou_loss
from triplane3d.training.run_setup import start_run
from triplane3d.training.trainer import Trainer
from triplane3d.training.validation import AUTOENCODER_BATCH, validation_batch

FROZEN_STAGES = 3
"""First stages of the pretrained features that are not trained: edges and colours are those of any picture."""
PICTURES = 4
"""Corrected fields in a picture of the validation."""


def decode_field(vae: AutoencoderKLTriplane, latents: Float[Tensor, "batch channels height width"]) -> TriplaneField:
    """The fields of normalized latents."""
    return vae.field(vae.decode(vae.denormalize_latents(latents), return_dict=False)[0])


class RefinerObjective(nn.Module):
    """The losses of one batch: occupancy and colour of the corrected field, and the likelihood of the camera.

    A part of the photos is used with the predicted camera, so that the field is trained with the errors that cameras
    have in use; the others with the true camera and noise.
    """

    def __init__(self, refiner: PhotoPlaneRefiner, vae: AutoencoderKLTriplane, weights: RefinerLossConfig):
        super().__init__()
        self.refiner, self.weights = refiner, weights
        self.frozen = (vae,)  # in a tuple, so that it is no submodule

    def forward(
        self,
        pixel_values: Float[Tensor, "batch 4 size size"],
        latents: Float[Tensor, "batch channels height width"],
        cameras: Float[Tensor, "batch 5"],
        label_points: Float[Tensor, "batch labels 3"],
        label_distance: Float[Tensor, "batch labels"],
        surface_points: Float[Tensor, "batch points 3"],
        surface_colors: Float[Tensor, "batch points 3"],
        predicted_share: float = 0.5,
    ) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            pixel_values: photos as `PhotoPlaneRefiner.encode` takes them.
            latents: generated from the photos, normalized.
            cameras: the parameters of the true cameras.
            label_points: the first half uniform, the second half near the surface.
            label_distance: signed distances of these points, negative inside.
            surface_points: points on the surface.
            surface_colors: their linear RGB.
            predicted_share: share of the photos that are used with the predicted camera.
        """
        weights, (vae,) = self.weights, self.frozen
        points = torch.cat([label_points, surface_points], dim=1)
        with torch.no_grad():
            field = decode_field(vae, latents)
            states = field.point_states(points)
        features = self.refiner.encode(pixel_values)
        predicted = torch.rand(len(latents), 1, device=latents.device) < predicted_share
        noisy = cameras + weights.camera_noise * torch.randn_like(cameras)
        used = FramedCameras.from_parameters(torch.where(predicted, features.camera.detach(), noisy))
        shape = self.refiner.shape_planes(field.planes, features.tokens)
        logits, colors = self.refiner.correct(features, shape, used.cameras, points, *states)

        labels = label_points.shape[1]
        near = weights.near_surface_share
        error = (features.camera - cameras).abs()
        losses = {
            "occupancy": occupancy_loss(logits[:, :labels], label_distance, band=weights.band, near=near),
            # The likelihood of a Laplace distribution, for its scale alone. Its gradient of the camera grows without
            # bound where the scale is small, so the camera itself has the mean absolute error.
            "camera": (error + error.detach() / features.camera_scale + features.camera_scale.log()).mean(),
        }
        uniform = labels // 2
        losses["iou"] = soft_iou_loss(logits[:, :uniform], label_distance[:, :uniform], band=weights.band)
        loss = losses["occupancy"] + weights.iou * losses["iou"] + weights.camera * losses["camera"]
        if field.has_color:
            losses["color"] = functional.l1_loss(colors[:, labels:].float(), surface_colors)
            loss = loss + weights.color * losses["color"]
        return {"loss": loss, **losses}


def train(config: RefinerConfig) -> Path:
    """Trains until `config.run.steps` and returns the output folder. It then holds `refiner/`."""
    check_inputs(config)
    accelerator = start_run(config)
    vae = AutoencoderKLTriplane.from_pretrained(config.pipeline, subfolder="vae")
    vae.to(accelerator.device).requires_grad_(False).eval()
    refiner = build_refiner(config)
    objective = RefinerObjective(refiner.train(), vae, config.loss)
    lr_shares = {"refiner.backbone": config.backbone_lr}
    trainer = Trainer(accelerator, config, objective, {"refiner": refiner}, lr_shares)

    data, loss = config.data, config.loss
    source = generated_shapes(data.folder, data.latents, vae, data.label_points, loss.color_points)
    measure = None
    if data.validation and data.validation_latents:
        shapes = generated_shapes(data.validation, data.validation_latents, vae, data.validation_labels, 1)
        measure = accelerator.autocast()(partial(validate_refiner, refiner, vae, shapes, data))

    for batch in trainer.batches(source):
        framed = augment_views(batch["view"], config.augment)
        start = trainer.step < loss.true_camera_steps
        trainer.update(
            trainer.losses(
                normalize_framed(framed),
                batch["latents"],
                FramedCameras.from_windows(batch["camera"][:, 1], batch["window"]).parameters,
                batch["label_points"],
                batch["label_distance"],
                batch["surface_points"],
                batch["surface_colors"],
                0.0 if start else loss.predicted_cameras,
            )
        )
        trainer.validate_and_save(measure)

    return trainer.finish()


def check_inputs(config: RefinerConfig) -> None:
    """Raises `ValueError` if an input of this stage is missing, with the stage that writes it."""
    check_pipeline(config.pipeline, "model_index.json", "vae/config.json", "refiner/config.json")
    check_model("pipeline", f"{config.pipeline}/vae", "vae")
    check_files("data.folder", config.data.folder, "*.safetensors", "shards")
    check_files("data.latents", config.data.latents, "latents-*.safetensors", "draws")
    if bool(config.data.validation) != bool(config.data.validation_latents):
        raise ValueError("data.validation and data.validation_latents go together: give both or none")
    if config.data.validation and config.data.validation_latents:
        check_files("data.validation", config.data.validation, "*.safetensors", "shards")
        check_files("data.validation_latents", config.data.validation_latents, "latents-*.safetensors", "draws")
    if config.init:
        check_model("init", config.init, "refiner")


def build_refiner(config: RefinerConfig) -> PhotoPlaneRefiner:
    """The refiner of the pipeline's architecture, with random weights or those of `init`."""
    if config.init:
        refiner = PhotoPlaneRefiner.from_pretrained(config.init)
    else:
        refiner = PhotoPlaneRefiner.from_config(PhotoPlaneRefiner.load_config(config.pipeline, subfolder="refiner"))
    if refiner.backbone is not None:
        if not config.init:
            if config.backbone is None:
                raise ValueError(
                    "the refiner has pretrained features, but `backbone` names no file of weights; see "
                    "docs/refinement.md"
                )
            refiner.backbone.load_state_dict(load_file(config.backbone))
        refiner.backbone.requires_grad_(config.backbone_lr > 0)
        for early in (refiner.backbone.stem, *refiner.backbone.stages[:FROZEN_STAGES]):
            early.requires_grad_(False)
    return refiner


def generated_shapes(
    folder: str, latents: str, vae: AutoencoderKLTriplane, label_points: int, surface_points: int
) -> LatentPhotoDataset:
    """Shapes of the shards in `folder`, with the latents that a pipeline generated from their photos."""
    keys = ("surface", "labels", "framed_view")
    photos = ShardDataset(folder, keys, label_points=label_points, surface_points=surface_points)
    return LatentPhotoDataset(LatentDataset(latents, vae.config), photos)


@torch.no_grad()
def validate_refiner(
    refiner: PhotoPlaneRefiner, vae: AutoencoderKLTriplane, shapes: LatentPhotoDataset, data: RefinerDataConfig
) -> tuple[dict[str, float], np.ndarray]:
    """Scores on held-out photos, and a picture of some corrected fields.

    `val_iou_before`, `val_iou` and `val_iou_true_camera` are the mean volumetric IoU of the generated field, of the
    field corrected with the predicted camera, and of that with the true camera. `elevation`, `offset` and `scale` are
    mean absolute errors of the camera: in degrees, in parts of the photo's side, and as a ratio less 1.
    """
    scores: dict[str, list[Tensor]] = {}
    count = min(data.validation_shapes, len(shapes))
    for start in range(0, count, AUTOENCODER_BATCH):
        rows = range(start, min(start + AUTOENCODER_BATCH, count))
        batch = validation_batch(shapes, rows, vae.device)
        uniform = batch["label_points"].shape[1] // 2
        points, distance = batch["label_points"][:, :uniform], batch["label_distance"][:, :uniform]
        field = decode_field(vae, batch["latents"])
        features = refiner.encode(normalize_framed(premultiply(batch["view"])))
        true = FramedCameras.from_windows(batch["camera"][:, 1], batch["window"])
        error = (features.camera - true.parameters).abs() * true.parameters.new_tensor(UNITS)
        states = field.point_states(points)
        shape = refiner.shape_planes(field.planes, features.tokens)
        found = {
            "val_iou_before": occupancy_iou(states[1].float(), distance),
            "elevation": error[:, 0],
            "perspective": error[:, 1],
            "offset": error[:, 2:4].mean(dim=1) / 2,
            "scale": error[:, 4].exp() - 1,
        }
        for name, cameras in (("val_iou", features.cameras), ("val_iou_true_camera", true)):
            logits, _ = refiner.correct(features, shape, cameras.cameras, points, *states)
            found[name] = occupancy_iou(logits.float(), distance)
        for name, values in found.items():
            scores.setdefault(name, []).append(values)
    shown = validation_batch(shapes, range(min(PICTURES, count)), vae.device)
    features = refiner.encode(normalize_framed(premultiply(shown["view"])))
    picture = field_pictures(refiner.refine(decode_field(vae, shown["latents"]), features), shown["view"])
    return {name: float(torch.cat(values).mean()) for name, values in scores.items()}, picture
