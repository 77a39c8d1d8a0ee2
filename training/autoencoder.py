"""Train the miniature's AutoencoderKL to invert the latent space, and a distilled AutoencoderTiny beside it.

    python -m training.autoencoder [--part kl tiny] [--device cpu] [--minutes 12]

The latent space is fixed (training.stack.PatchPCA), so that the denoiser could be trained before: both encoders
regress its latents, and both decoders turn them back into images. The decoders see latents with some noise on
them, because at a guided step they decode a prediction. Group norms are wide (4 channels or more a group, as in
Stable Diffusion): a norm of one channel would lose how bright the image is.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn

from . import stack
from .fit import arguments, begin, fit, record, trained
from .scenes import dataset

SCENES = 4000  # the denoiser's first shard
NOISE = 0.08  # the largest deviation of the noise on a decoder's latents
LOGVAR = -8.0  # what the encoder's log variance is pushed to: its distribution is a point, to the eye


def kl() -> AutoencoderKL:
    """Few channels at full size, where a convolution costs most: it is differentiated through at each guided step."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 32, 64, 128), layers_per_block=1, latent_channels=stack.LATENT_CHANNELS, norm_num_groups=2, sample_size=128,
        scaling_factor=1.0, shift_factor=0.0, force_upcast=False, use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False,
    )  # fmt: skip


def tiny() -> AutoencoderTiny:
    """No block at full size, where a block costs most."""
    return AutoencoderTiny(
        in_channels=3, out_channels=3, encoder_block_out_channels=(16, 16, 16, 16), decoder_block_out_channels=(24, 24, 24, 24),
        latent_channels=stack.LATENT_CHANNELS, num_encoder_blocks=(1, 1, 1, 1), num_decoder_blocks=(2, 1, 1, 0), scaling_factor=1.0,
    )  # fmt: skip


def detail(images: torch.Tensor) -> torch.Tensor:
    """What a 3x3 mean filter takes away from images (B, 3, H, W)."""
    return images - F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def high_frequencies(images: torch.Tensor) -> torch.Tensor:
    """Mean square (B,) of the detail of images (B, 3, H, W)."""
    return detail(images).square().mean((1, 2, 3))


def distance(made: torch.Tensor, wanted: torch.Tensor, sharpness: float = 0.0) -> torch.Tensor:
    """L1 + MSE + L1 of the differences between neighbours (for edges); images (B, 3, H, W) in [-1, 1].

    Where an edge is uncertain, the least error is a blur. `sharpness` weighs a term against it: L1 between the root
    mean squares of the detail in windows of 8x8 pixels.
    """
    error = made - wanted
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    plain = error.abs().mean() + error.square().mean() + edges
    if not sharpness:
        return plain
    energy = [(F.avg_pool2d(detail(x).square(), 8, stride=4).mean(1) + 1e-5).sqrt() for x in (made, wanted)]
    return plain + sharpness * (energy[0] - energy[1]).abs().mean()


@torch.no_grad()
def report(name: str, model: nn.Module, space: stack.PatchPCA, args) -> None:
    """PSNR and high-frequency energy (made / real) over 1000 fresh scenes, and over the clean ones among them."""
    fresh = dataset(args.cache, 1000, seed=700)
    clean = torch.from_numpy(fresh["flaw"] < 0)
    columns: dict[str, list[torch.Tensor]] = {}
    for part in torch.from_numpy(fresh["images"]).split(50):
        x, z = (part.float() / 127.5 - 1).permute(0, 3, 1, 2), space.encode(part)
        encoded = model.encode(x.to(args.device))
        own = encoded.latents if isinstance(model, AutoencoderTiny) else encoded.latent_dist.mean
        made = {"": model.decode(z.to(args.device)).sample.cpu(), "_round_trip": model.decode(own).sample.cpu()}
        made["_linear"] = 2 * space.decode(z) - 1
        found = {"latents": (own.cpu() - z).square().mean((1, 2, 3)), "real": high_frequencies(x)}
        for key, image in made.items():
            found[f"error{key}"] = (image.clamp(-1, 1) - x).square().mean((1, 2, 3)) / 4
            found[f"high{key}"] = high_frequencies(image.clamp(-1, 1))
        for key, value in found.items():
            columns.setdefault(key, []).append(value)
    every = {key: torch.cat(value) for key, value in columns.items()}
    figures = {"latent_rmse": round(every["latents"].mean().sqrt().item(), 4)}
    for key in ("", "_round_trip", "_linear"):
        for which, chosen in (("", torch.ones_like(clean)), ("_clean", clean)):
            error, high = every[f"error{key}"][chosen], every[f"high{key}"][chosen]
            figures[f"psnr{key}{which}"] = round(-10 * torch.log10(error.mean()).item(), 2)
            figures[f"high_frequencies{key}{which}"] = round((high.mean() / every["real"][chosen].mean()).item(), 3)
    record(**{name: figures})


def main() -> None:
    parser = arguments(__doc__, ("kl", "tiny"))
    parser.add_argument("--steps", type=int, default=3000, help="of the KL autoencoder")
    parser.add_argument("--tiny-steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--sharpness", type=float, default=1.0, help="weight of the sharpness term, from half-way on")
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True, help="autocast")
    args = parser.parse_args()
    begin(args)
    autocast = partial(torch.autocast, args.device.split(":")[0], torch.bfloat16, enabled=args.bfloat16)
    images = torch.from_numpy(dataset(args.cache, SCENES, seed=args.seed)["images"])
    space = stack.pca(args.cache, images.numpy())

    def draw(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x (B, 3, 128, 128) in [-1, 1], its latents (B, 16, 16, 16), and these with noise on them."""
        part = images[torch.randint(0, len(images), (args.batch,), generator=generator)]
        x, z = (part.float() / 127.5 - 1).permute(0, 3, 1, 2), space.encode(part)
        strength = NOISE * torch.rand(args.batch, 1, 1, 1, generator=generator)
        noisy = z + strength * torch.randn(z.shape, generator=generator)
        x, z, noisy = (v.to(args.device).contiguous(memory_format=torch.channels_last) for v in (x, z, noisy))
        return x, z, noisy

    def sharp(step: int, steps: int) -> float:
        return args.sharpness * min(1.0, max(0.0, 10 * (step / steps - 0.5)))

    # A quarter of the batch is enough for the encoders: the map they learn is close to linear.
    few = max(1, args.batch // 4)
    if "kl" in args.part:
        model = kl().to(args.device, memory_format=torch.channels_last)

        def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
            x, z, noisy = draw(generator)
            with autocast():
                made, (mean, logvar) = model.decoder(noisy).float(), model.encoder(x[:few]).float().chunk(2, 1)
            return {
                "decoder": distance(made, x, sharp(step, args.steps)),
                "encoder": F.l1_loss(mean, z[:few]) + F.mse_loss(mean, z[:few]),
                "logvar": 1e-3 * (logvar - LOGVAR).square().mean(),
            }

        fit("autoencoder", model, losses, args, steps=args.steps, lr=args.lr)
        report("autoencoder", model, space, args)
    if "tiny" in args.part:
        teacher = trained("autoencoder", kl(), args.cache).to(args.device, memory_format=torch.channels_last)
        student = tiny().to(args.device, memory_format=torch.channels_last)

        def tiny_losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
            x, z, noisy = draw(generator)
            with autocast():
                with torch.no_grad():
                    taught = teacher.decode(noisy).sample.float()
                made, latents = student.decode(noisy).sample.float(), student.encode(x[:few]).latents.float()
            return {
                "teacher": 0.5 * distance(made, taught),
                "truth": 0.5 * distance(made, x, sharp(step, args.tiny_steps)),
                "encoder": F.l1_loss(latents, z[:few]) + F.mse_loss(latents, z[:few]),
            }

        fit("taesd", student, tiny_losses, args, steps=args.tiny_steps, lr=args.lr)
        report("taesd", student, space, args)


if __name__ == "__main__":
    main()
