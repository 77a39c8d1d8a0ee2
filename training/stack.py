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

from dymo.miniature.world import ALL_THINGS, RELATIONS

WINDOW = 24  # tokens, start and end among them
LATENT_CHANNELS = 8
PATCH = 4


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
    corpus = [thing.text for thing in ALL_THINGS] + [f"and {relation}" for relation in RELATIONS]
    words = sorted(set(itertools.chain.from_iterable(line.split() for line in corpus)))
    alphabet = sorted(ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = joined(word, merges)
        for first, second in zip(itertools.accumulate(pieces), pieces[1:], strict=False):
            merges.append((first, second))
    tokens = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    made = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=WINDOW)
    for word in words:
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
    return UNet2DConditionModel(
        sample_size=16, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS, block_out_channels=(48, 96),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1, cross_attention_dim=128, attention_head_dim=(2, 4), norm_num_groups=16,
    )  # fmt: skip


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="trailing", rescale_betas_zero_snr=False,
    )  # fmt: skip


class PatchPCA:
    """The latent space: the leading principal components of 4x4 patches, each scaled by the root of its deviation.

    A linear map needs no training, so the denoiser's can start at once; the autoencoder then learns to invert it.
    `basis` (48, 8), `mean` (48,), `scale` (8,).
    """

    def __init__(self, basis: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor):
        self.basis, self.mean, self.scale = basis, mean, scale

    @classmethod
    def fit(cls, pictures: np.ndarray) -> PatchPCA:
        """From pictures (n, 64, 64, 3) uint8."""
        patches = cls.patches(torch.from_numpy(pictures)).flatten(0, 2).double()
        mean = patches.mean(0)
        covariance = (patches - mean).T @ (patches - mean) / len(patches)
        variance, vectors = torch.linalg.eigh(covariance)
        top = slice(-LATENT_CHANNELS, None)
        vectors, variance = vectors[:, top].flip(1), variance[top].flip(0)
        # The sign of an eigenvector is free; fix it so that a seed gives one latent space everywhere.
        vectors = vectors * vectors.sum(0).sign().where(vectors.sum(0).abs() > 1e-6, torch.ones(())).double()
        kept = variance.sqrt()
        return cls(vectors.float(), mean.float(), (kept.sqrt() * kept.mean().sqrt()).float())

    @staticmethod
    def patches(pictures: torch.Tensor) -> torch.Tensor:
        """(n, H, W, 3) uint8 -> (n, H/4, W/4, 48) in [-1, 1]."""
        return rearrange(pictures.float() / 127.5 - 1, "n (h p) (w q) c -> n h w (p q c)", p=PATCH, q=PATCH)

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, H, W, 3) uint8 -> latents (n, 8, H/4, W/4)."""
        return rearrange((self.patches(pictures) - self.mean) @ self.basis / self.scale, "n h w c -> n c h w")

    def state(self) -> dict[str, torch.Tensor]:
        return {"basis": self.basis, "mean": self.mean, "scale": self.scale}


def pca(cache: Path, pictures: np.ndarray) -> PatchPCA:
    """The PCA of the first 4000 pictures, kept in `cache` so that every recipe has the same latent space."""
    path = cache / "pca.pt"
    if not path.exists():
        torch.save(PatchPCA.fit(pictures[:4000]).state(), path)
    return PatchPCA(**torch.load(path, weights_only=True))
