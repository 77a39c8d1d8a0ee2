"""Train the miniature's AutoencoderKL to invert the latent space, and a distilled AutoencoderTiny beside it.

    python -m training.autoencoder [--part kl tiny] [--device cpu] [--minutes 12]

The latent space is fixed (training.stack.PatchPCA), so that the denoiser could be trained before: both encoders
regress its latents, and both decoders turn them back into pictures. The decoders see latents with some noise on
them, because at a guided step they decode a prediction. Group norms are wide (4 channels or more a group, as in
Stable Diffusion): a norm of one channel would lose how bright the picture is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn

from . import stack
from .fit import arguments, begin, fit, record, trained
from .scenes import dataset

NOISE = 0.15  # the largest deviation of the noise on a decoder's latents
LOGVAR = -8.0  # what the encoder's log variance is pushed to: its distribution is a point, to the eye


def kl() -> AutoencoderKL:
    """The decoder takes 129 MMAC a picture: it is differentiated through at each guided step."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 24, 48), layers_per_block=1, latent_channels=stack.LATENT_CHANNELS, norm_num_groups=2, sample_size=64,
        scaling_factor=1.0, force_upcast=False, use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False,
    )  # fmt: skip


def tiny() -> AutoencoderTiny:
    """50 MMAC, a quarter of the KL decoder's time; no block at full size, where a block costs most."""
    return AutoencoderTiny(
        in_channels=3, out_channels=3, encoder_block_out_channels=(16, 16, 16), decoder_block_out_channels=(24, 24, 24),
        latent_channels=stack.LATENT_CHANNELS, num_encoder_blocks=(1, 1, 1), num_decoder_blocks=(1, 1, 0), scaling_factor=1.0,
    )  # fmt: skip


def distance(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """L1 + MSE + L1 of the differences between neighbours (for edges); pictures (B, 3, H, W) in [-1, 1]."""
    error = made - wanted
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.square().mean() + 0.5 * edges


def psnr(model: nn.Module, space: stack.PatchPCA, pictures: torch.Tensor, device: str) -> dict[str, torch.Tensor]:
    """Mean squared errors, per picture and on [0, 1], of decoding latents and of a round trip through the encoder."""
    errors: dict[str, list[torch.Tensor]] = {"decoder": [], "round_trip": [], "latents": []}
    with torch.no_grad():
        for part in pictures.split(100):
            x = (part.float() / 127.5 - 1).permute(0, 3, 1, 2).to(device)
            z = space.encode(part).to(device)
            encoded = model.encode(x)
            own = encoded.latents if isinstance(model, AutoencoderTiny) else encoded.latent_dist.mean
            errors["latents"].append((own - z).square().mean((1, 2, 3)).cpu())
            for key, latents in (("decoder", z), ("round_trip", own)):
                made = model.decode(latents).sample.clamp(-1, 1)
                errors[key].append(((made - x).square().mean((1, 2, 3)) / 4).cpu())
    return {key: torch.cat(value) for key, value in errors.items()}


def report(name: str, model: nn.Module, space: stack.PatchPCA, args) -> None:
    """PSNR over 1000 fresh scenes, and over the clean ones among them (noise put into a picture cannot be coded)."""
    fresh = dataset(args.cache, 1000, seed=7)
    clean = torch.from_numpy(fresh["flaw"] < 0)
    errors = psnr(model, space, torch.from_numpy(fresh["pictures"]), args.device)

    def db(error: torch.Tensor) -> float:
        return round(-10 * torch.log10(error.mean()).item(), 2)

    found = {
        "psnr": db(errors["decoder"]), "psnr_clean": db(errors["decoder"][clean]), "psnr_round_trip": db(errors["round_trip"]),
        "psnr_round_trip_clean": db(errors["round_trip"][clean]), "latent_rmse": round(errors["latents"].mean().sqrt().item(), 4),
    }  # fmt: skip
    record(**{name: found})


def main() -> None:
    parser = arguments(__doc__, ("kl", "tiny"))
    parser.add_argument("--steps", type=int, default=1500, help="of the KL autoencoder")
    parser.add_argument("--tiny-steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    begin(args)
    pictures = torch.from_numpy(dataset(args.cache, 30_000, seed=args.seed)["pictures"])
    space = stack.pca(args.cache, pictures.numpy())

    def draw(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x (B, 3, 64, 64) in [-1, 1], its latents (B, 8, 16, 16), and these with noise on them."""
        part = pictures[torch.randint(0, len(pictures), (args.batch,), generator=generator)]
        x, z = (part.float() / 127.5 - 1).permute(0, 3, 1, 2), space.encode(part)
        strength = NOISE * torch.rand(args.batch, 1, 1, 1, generator=generator)
        noisy = z + strength * torch.randn(z.shape, generator=generator)
        return tuple(v.to(args.device).contiguous(memory_format=torch.channels_last) for v in (x, z, noisy))

    # A quarter of the batch is enough for the encoders: the map they learn is close to linear.
    few = max(1, args.batch // 4)
    if "kl" in args.part:
        model = kl().to(args.device, memory_format=torch.channels_last)

        def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
            x, z, noisy = draw(generator)
            mean, logvar = model.encoder(x[:few]).chunk(2, 1)
            return {
                "decoder": distance(model.decoder(noisy), x),
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
            with torch.no_grad():
                taught = teacher.decode(noisy).sample
            made, latents = student.decode(noisy).sample, student.encode(x[:few]).latents
            return {
                "teacher": 0.5 * distance(made, taught),
                "truth": 0.5 * distance(made, x),
                "encoder": F.l1_loss(latents, z[:few]) + F.mse_loss(latents, z[:few]),
            }

        fit("taesd", student, tiny_losses, args, steps=args.tiny_steps, lr=args.lr)
        report("taesd", student, space, args)


if __name__ == "__main__":
    main()
