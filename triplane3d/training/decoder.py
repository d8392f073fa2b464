"""Stage 4: the decoder learns to read what the denoiser writes.

    accelerate launch scripts/train_decoder.py configs/mini/decoder.yaml

Where a photo leaves room, a denoiser answers nearer to the mean than any shape's own latents lie. A decoder that has
only seen shapes' own latents takes such an answer for thin air: its logits sink and the surface shrinks. So the trained
pipeline first writes latents for photos of the training shapes; then the decoder, all else frozen, is trained on these
and on the shapes' own latents in turn, to answer both with the true occupancy. Its zero level is then where the shape
is as likely as not, whatever wrote the latents.
"""

from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import FlowMatchEulerDiscreteScheduler
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn
from torch.nn import functional

from triplane3d.config import AutoencoderLossConfig, DecoderConfig
from triplane3d.data.shards import ShardDataset
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.loading import image_encoder_class
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.training.augment import premultiply
from triplane3d.training.denoiser import normalize, validate
from triplane3d.training.encode import Latents
from triplane3d.training.losses import occupancy_loss
from triplane3d.training.run import Run, gather, start


class DecoderObjective(nn.Module):
    """What a batch of latents, in units of their deviation, decodes to beside the shapes they stand for."""

    def __init__(self, vae: AutoencoderKLTriplane, weights: AutoencoderLossConfig):
        super().__init__()
        self.vae, self.weights = vae, weights
        config = vae.config
        self.register_buffer("mean", rearrange(torch.tensor(config.latents_mean), "channel -> channel 1 1"))
        self.register_buffer("std", rearrange(torch.tensor(config.latents_std), "channel -> channel 1 1"))

    def forward(
        self,
        latents: Float[Tensor, "batch channels height width"],
        surface_points: Float[Tensor, "batch points 3"],
        surface_colors: Float[Tensor, "batch points 3"],
        label_points: Float[Tensor, "batch labels 3"],
        label_distance: Float[Tensor, "batch labels"],
    ) -> dict[str, Tensor]:
        weights = self.weights
        field = self.vae.field(self.vae.decode(latents * self.std + self.mean, return_dict=False)[0])
        surface = surface_points if field.has_color else surface_points[:, :0]
        logits, colors = field.occupancy_and_color(torch.cat([label_points, surface], dim=1))
        asked = label_points.shape[1]
        losses = {
            "occupancy": occupancy_loss(
                logits[:, :asked], label_distance, band=weights.band, near=weights.near, inside=weights.inside
            )
        }
        if field.has_color:
            losses["color"] = functional.l1_loss(colors[:, asked:].float(), surface_colors)
        return {"loss": losses["occupancy"] + weights.color * losses.get("color", 0.0), **losses}


class OwnAndWritten:
    """Shapes with their own latents, or with those that the denoiser wrote for them."""

    def __init__(self, shapes: ShardDataset, own: Latents, written: Float[Tensor, "shapes channels h w"], share: float):
        self.shapes, self.own, self.written, self.share = shapes, own, written, share

    @property
    def generator(self) -> Generator | None:
        return self.shapes.generator

    @generator.setter
    def generator(self, generator: Generator | None) -> None:
        self.shapes.generator = generator

    def __len__(self) -> int:
        return len(self.written)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self.shapes[index]
        own = bool(torch.rand((), generator=self.generator) < self.share)
        keys = ("surface_points", "surface_colors", "label_points", "label_distance")
        return {"latents": self.own[index] if own else self.written[index].float(), **{k: sample[k] for k in keys}}


def train(config: DecoderConfig) -> Path:
    """Writes latents, trains until `config.run.steps`; the output folder then holds `vae/`."""
    accelerator = start(config)
    data = config.data
    vae = AutoencoderKLTriplane.from_pretrained(data.vae)
    pipeline = load_pipeline(config, vae).to(accelerator.device)
    written = write(accelerator, pipeline, config)

    vae.requires_grad_(False)
    for part in (vae.decoder, vae.field_decoder):
        part.requires_grad_(True)
    run = Run(accelerator, config, DecoderObjective(vae.train(), config.loss), {"vae": vae})
    shapes = ShardDataset(
        data.folder, ("surface", "labels"), surface_points=data.surface_points, label_points=data.label_points
    )
    samples = OwnAndWritten(shapes, Latents(data.latents, vae.config), written, data.own)
    held_out = None
    if data.validation:
        held_out = ShardDataset(data.validation, keys=("labels", "view"), label_points=data.validation_labels)

    for batch in run.batches(samples):
        run.update(run.objective(**batch))

        if held_out is not None and run.due(config.run.validate_every) and accelerator.is_main_process:
            with run.averaged(), accelerator.autocast():
                scores, picture = validate(pipeline, held_out, config)
            run.log(scores)
            run.picture("validation", picture)
        if run.due(config.run.checkpoint_every):
            run.save()

    return run.finish()


def load_pipeline(config: DecoderConfig, vae: AutoencoderKLTriplane) -> Triplane3DPipeline:
    """The denoiser of stage 3 before `vae`, all at rest."""
    denoiser = config.data.denoiser
    settings = {name: value for name, value in Triplane3DPipeline.load_config(config.pipeline).items()
                if name in ("foreground_ratio", "background", "image_statistics", "image_size")}  # fmt: skip
    image_encoder = image_encoder_class(config.pipeline).from_pretrained(
        denoiser, subfolder="image_encoder", dtype=torch.float32
    )
    transformer = TriplaneTransformer.from_pretrained(denoiser, subfolder="transformer")
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(config.pipeline, subfolder="scheduler")
    pipeline = Triplane3DPipeline(
        image_encoder.requires_grad_(False).eval(), transformer.requires_grad_(False).eval(), vae, scheduler, **settings
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def write(
    accelerator: Accelerator, pipeline: Triplane3DPipeline, config: DecoderConfig
) -> Float[Tensor, "shapes channels height width"]:
    """Latents that the pipeline makes of photos of the first shapes, kept in the run's folder for the next start."""
    data = config.data
    folder = Path(config.run.output) / "written"
    folder.mkdir(parents=True, exist_ok=True)
    photos = ShardDataset(data.folder, keys=("view",))
    count = min(data.samples, len(photos))
    firsts = range(0, count, data.sample_batch_size)
    paths = [folder / f"{first:08d}.safetensors" for first in firsts]
    for first, path in list(zip(firsts, paths, strict=True))[accelerator.process_index :: accelerator.num_processes]:
        if path.exists():
            continue
        generator = Generator().manual_seed(first)
        views = gather(photos, range(first, min(first + data.sample_batch_size, count)), generator)["view"]
        low, high = data.sample_guidance
        with accelerator.autocast():
            latents = pipeline(
                image_embeds=pipeline.encode_image(normalize(pipeline, premultiply(views.to(accelerator.device)))),
                num_inference_steps=int(torch.randint(*data.sample_steps, (1,), generator=generator)),
                guidance_scale=low + (high - low) * float(torch.rand(1, generator=generator)),
                generator=generator,
                output_type="latent",
                return_dict=False,
            )[0]
        partial = path.with_suffix(".partial")
        save_file({"latents": latents.half().cpu()}, partial)
        partial.replace(path)
        accelerator.print(f"{min(first + data.sample_batch_size, count)} of {count} written", flush=True)
    accelerator.wait_for_everyone()
    return torch.cat([load_file(path)["latents"] for path in paths])
