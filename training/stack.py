"""The parts of the miniature before training: tokenizer, text encoder, denoiser, schedule, latent space."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from einops import rearrange
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dymo.miniature.world import WORDS

WINDOW = 24  # tokens, start and end among them
LATENT_CHANNELS = 16
PATCH = 8


def joined(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """The pieces of `word` once `merges`, the earliest first, are made as often as they can be: byte-pair encoding."""
    pieces = [*word[:-1], f"{word[-1]}</w>"]
    rank = {pair: i for i, pair in enumerate(merges)}
    while known := [(rank[pair], i) for i, pair in enumerate(itertools.pairwise(pieces)) if pair in rank]:
        _, at = min(known)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces


def tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that knows each word of the world as one token and spells the rest out in bytes.

    Its merges join each word from the left, in alphabetical order: a trainer's break ties at random, and then every
    process would number the words in its own way.
    """
    alphabet = sorted(ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in sorted(WORDS):
        pieces = joined(word, merges)
        for first, second in zip(itertools.accumulate(pieces), pieces[1:], strict=False):
            merges.append((first, second))
    tokens = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    made = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=WINDOW)
    for word in (*sorted(WORDS), ","):
        if len(made(word).input_ids) != 3:
            raise RuntimeError(f"the tokenizer splits {word!r} into {made.tokenize(word)}")
    return made


def text_encoder(tok: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tok), hidden_size=128, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4,
            max_position_embeddings=WINDOW, projection_dim=128,
            bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id,
        )
    )  # fmt: skip


def denoiser() -> UNet2DConditionModel:
    """Widths that are multiples of 64, which bfloat16 on a CPU pays for; at its lowest level of 4 x 4 cells it sees the whole image."""
    return UNet2DConditionModel(
        sample_size=16, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS, block_out_channels=(64, 128, 128),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1, cross_attention_dim=128, attention_head_dim=(2, 4, 4), norm_num_groups=16,
    )  # fmt: skip


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's with noisier latents at the end: by its own 0.012 they still show where things are, so that nothing
    said of places would be learnt, nor heeded from pure noise.
    """
    return DDIMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.02, beta_schedule="scaled_linear", prediction_type="v_prediction",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="trailing", rescale_betas_zero_snr=False,
    )  # fmt: skip


class PatchPCA:
    """The latent space: the leading principal components of 8x8 patches, each scaled by the root of its deviation.

    A linear map needs no training, so that the denoiser's can start at once; the autoencoder then learns to invert it.
    `basis` (192, 16), `mean` (192,), `scale` (16,).
    """

    def __init__(self, basis: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor):
        self.basis, self.mean, self.scale = basis, mean, scale

    @classmethod
    def fit(cls, images: np.ndarray) -> PatchPCA:
        """From images (n, 128, 128, 3) uint8."""
        width = 3 * PATCH**2
        total, product, n = torch.zeros(width).double(), torch.zeros(width, width).double(), 0
        for part in torch.from_numpy(images).split(200):
            patches = cls.patches(part).flatten(0, 2).double()
            total, product, n = total + patches.sum(0), product + patches.T @ patches, n + len(patches)
        mean = total / n
        variance, vectors = torch.linalg.eigh(product / n - torch.outer(mean, mean))
        top = slice(-LATENT_CHANNELS, None)
        vectors, variance = vectors[:, top].flip(1), variance[top].flip(0)
        # The sign of an eigenvector is free; fix it so that a seed gives one latent space everywhere.
        vectors = vectors * vectors.sum(0).sign().where(vectors.sum(0).abs() > 1e-6, torch.ones(())).double()
        kept = variance.sqrt()
        return cls(vectors.float(), mean.float(), (kept.sqrt() * kept.mean().sqrt()).float())

    @staticmethod
    def patches(images: torch.Tensor) -> torch.Tensor:
        """(n, H, W, 3) uint8 -> (n, H/8, W/8, 192) in [-1, 1]."""
        return rearrange(images.float() / 127.5 - 1, "n (h p) (w q) c -> n h w (p q c)", p=PATCH, q=PATCH)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """(n, H, W, 3), 0 to 255 -> latents (n, 16, H/8, W/8)."""
        return rearrange((self.patches(images) - self.mean) @ self.basis / self.scale, "n h w c -> n c h w")

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The linear inverse: latents (n, 16, h, w) -> images (n, 3, 8h, 8w), about in [0, 1]."""
        patches = (rearrange(latents, "n c h w -> n h w c") * self.scale) @ self.basis.T + self.mean
        return rearrange(patches, "n h w (p q c) -> n c (h p) (w q)", p=PATCH, q=PATCH) / 2 + 0.5

    def state(self) -> dict[str, torch.Tensor]:
        return {"basis": self.basis, "mean": self.mean, "scale": self.scale}


def pca(cache: Path, images: np.ndarray | None = None) -> PatchPCA:
    """The PCA of `images`, kept in `cache` so that every recipe has the same latent space."""
    path = cache / "pca.pt"
    if not path.exists():
        if images is None:
            raise FileNotFoundError(f"{path} does not exist: run training.denoiser first, which fits the latent space")
        torch.save(PatchPCA.fit(images).state(), path)
    return PatchPCA(**torch.load(path, weights_only=True))
