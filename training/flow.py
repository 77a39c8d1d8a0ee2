"""Train the miniature's flow transformer: SD3's architecture, small, on the denoiser's latents (Esser et al., 2024).

    python -m training.flow --minutes 200 [--device cpu] [--align 0.2] [--start src/dymo/miniature/weights/flow]

Rectified flow: z_s = (1 - s) z0 + s noise, the target is noise - z0, and s is logit-normal, shifted towards noise. As in
SD3 the prompt is read twice: by CLIP, which starts as the denoiser's text encoder, and by a T5 encoder, which starts from
nothing; each is left out now and then, so that neither leans on the other. As for the denoiser, captions with a side and
noisy latents are drawn more often. Three terms help a model this small: a naming term on two inner blocks and a grounding
term on the attention of the middle ones, as in `training.denoiser`, the latter for each of a word's two tokens; and, with --align, the
cosine between an inner block and the trained UNet's features of the nearly clean latents (REPA, ICLR 2025), through a head
that is not kept. Without the grounding term the words' maps do not tell where their things are, and the semantic objective
has nothing to read. With --mistold, captions say something else than their images now and then (`training.mistold`).
Resumes from its checkpoint in --cache; --start begins from a saved pipeline instead, with a fresh optimiser and fresh heads.
The learning rate comes down over the last quarter of --minutes.
"""

from __future__ import annotations

import copy
import random
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from dymo.miniature.world import NOUNS, WORDS, caption_of
from dymo.pipelines.kernel import KernelTaps, Places

from . import stack
from .denoiser import grounding_loss, naming_loss, rate, side_position, training_set
from .fit import arguments, average, begin, keep, part, resume
from .mistold import mistold, shown_tokens

SHIFT = 6.0
"""As the denoiser's schedule, more noise than usual: of these latents even a thirtieth part still shows where things are."""
WIDTH = 192
NOISY = 0.95
"""Levels above this decide the layout: grounding counts more there."""
ALONE = 0.1
"""How often each of the two readings of a prompt is left out."""
NAMED = (3, 5)
"""Blocks whose image tokens must tell nouns; the first is aligned too."""
GROUNDED = (2, 3, 4, 5)
"""Blocks whose words must draw attention inside their things; by default guidance reads the first two."""


def transformer() -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=stack.LATENT_CHANNELS, out_channels=stack.LATENT_CHANNELS, num_layers=8,
        attention_head_dim=32, num_attention_heads=WIDTH // 32, joint_attention_dim=256, caption_projection_dim=WIDTH,
        pooled_projection_dim=256, pos_embed_max_size=16, qk_norm="rms_norm",
    )  # fmt: skip


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=SHIFT)


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """Each word of the world is one piece that begins with a space's mark; other words are spelt."""
    words = [("▁" + word, -1.0) for word in sorted(WORDS)]
    letters = [(symbol, -5.0) for symbol in ("▁", *(chr(code) for code in range(33, 127)))]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *words, *letters]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=stack.WINDOW
    )


def t5_encoder(tok: PreTrainedTokenizerFast) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(tok), d_model=256, d_kv=64, d_ff=512, num_layers=2, num_heads=4, dropout_rate=0.0)
    )


def text_encoder(tok) -> CLIPTextModelWithProjection:
    """The denoiser's, with a projection: both text encoders of a StableDiffusion3Pipeline."""
    return CLIPTextModelWithProjection(CLIPTextConfig(**stack.text_encoder(tok).config.to_diff_dict()))


class Texts(nn.Module):
    """Both readings of a prompt, as StableDiffusion3Pipeline joins them: the two CLIP encoders are the same one."""

    def __init__(self) -> None:
        super().__init__()
        self.clip_tokenizer, self.t5_tokenizer = stack.tokenizer(), t5_tokenizer()
        self.clip, self.t5 = text_encoder(self.clip_tokenizer), t5_encoder(self.t5_tokenizer)

    def ids(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Of CLIP and of T5, (B, 24) each."""
        window = dict(padding="max_length", max_length=stack.WINDOW, truncation=True, return_tensors="pt")
        return self.clip_tokenizer(prompts, **window).input_ids, self.t5_tokenizer(prompts, **window).input_ids

    def forward(self, clip: Tensor, t5: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, 48, 256), CLIP's before T5's, and pooled (B, 256)."""
        out = self.clip(clip, output_hidden_states=True)
        states = torch.cat([out.hidden_states[-2]] * 2, -1)
        return torch.cat([states, self.t5(t5).last_hidden_state], 1), torch.cat([out.text_embeds] * 2, -1)


def taps(model: SD3Transformer2DModel) -> KernelTaps:
    """Of the grounded blocks' attention: their maps are of 64 cells and 48 tokens, CLIP's before T5's."""
    modules = {str(i): model.transformer_blocks[i].attn for i in GROUNDED}
    side = model.config.sample_size // model.config.patch_size
    last = model.transformer_blocks[GROUNDED[-1]]
    return KernelTaps(modules, (side, side), 1, last, Places(0, side * side, 2 * stack.WINDOW))


def both_tokens(positions: Tensor) -> Tensor:
    """Positions (n, 3, k) of words in CLIP's tokens, 0 for none -> (n, 3, 2 k): T5's, which have no start token, after them."""
    return torch.cat([positions, torch.where(positions > 0, positions - 1 + stack.WINDOW, 0)], 2)


def begun(cache: Path) -> tuple[SD3Transformer2DModel, Texts]:
    """A fresh transformer and T5, with the text encoder of the denoiser in `cache`, but for its projection."""
    net, texts = transformer(), Texts()
    saved = torch.load(cache / "denoiser.pt", weights_only=True, map_location="cpu")
    texts.clip.load_state_dict(part(saved["ema"], "text."), strict=False)
    return net, texts


def begun_from(folder: Path) -> tuple[SD3Transformer2DModel, Texts]:
    """Those of the StableDiffusion3Pipeline that is saved in `folder`."""
    net, texts = SD3Transformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.float32), Texts()
    texts.clip = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    texts.t5 = T5EncoderModel.from_pretrained(folder / "text_encoder_3", dtype=torch.float32)
    return net, texts


class Helpers(nn.Module):
    """The heads of the naming and the alignment terms, and the image tokens they read."""

    def __init__(self, model: SD3Transformer2DModel, aligned: int):
        super().__init__()
        self.naming = nn.ModuleList(nn.Conv2d(WIDTH, len(NOUNS) + 1, 1) for _ in NAMED)
        self.align = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.SiLU(), nn.Conv2d(WIDTH, aligned, 1))
        self.features: list[Tensor] = []
        for i in NAMED:
            model.transformer_blocks[i].register_forward_hook(
                lambda _module, _inputs, output: self.features.append(output[1])
            )

    def read(self) -> list[Tensor]:
        """Features (B, width, 8, 8) of the last forward, which are then forgotten."""
        made = [x.transpose(1, 2).unflatten(2, (8, 8)) for x in self.features]
        self.features.clear()
        return made


class Teacher:
    """The trained UNet's second up block at little noise: features (B, 128, 8, 8) of latents and their words."""

    def __init__(self, cache: Path, tok, device: str, t: int = 60):
        saved = torch.load(cache / "denoiser.pt", weights_only=True, map_location="cpu")
        self.unet, self.text = stack.denoiser(), stack.text_encoder(tok)
        self.unet.load_state_dict(part(saved["ema"], "unet.")), self.text.load_state_dict(part(saved["ema"], "text."))
        self.unet.to(device).eval(), self.text.to(device).eval()
        self.t, self.a, self.seen = t, stack.scheduler().alphas_cumprod[t].item(), None
        self.unet.up_blocks[1].register_forward_hook(self._keep)

    def _keep(self, _module, _inputs, output) -> None:
        self.seen = output

    @torch.no_grad()
    def features(self, z0: Tensor, noise: Tensor, tokens: Tensor) -> Tensor:
        zt = self.a**0.5 * z0 + (1 - self.a) ** 0.5 * noise
        self.unet(zt, self.t, self.text(tokens).last_hidden_state)
        return F.avg_pool2d(self.seen, 2)


@torch.no_grad()
def generate(model, texts: Texts, prompts: list[str], scale: float, steps: int, seed: int) -> Tensor:
    """Latents (n, 16, 16, 16) by Euler steps with classifier-free guidance."""
    states, pooled = texts(*texts.ids([""] * len(prompts) + prompts))
    levels = scheduler()
    levels.set_timesteps(steps)
    z = torch.stack(
        [torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(seed + i)) for i in range(len(prompts))]
    )
    for t in levels.timesteps:
        v = model(torch.cat([z, z]), states, pooled, t.expand(2 * len(z))).sample
        without, with_words = v.chunk(2)
        z = levels.step(without + scale * (with_words - without), t, z).prev_sample
    return z


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(minutes=200.0)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--naming", type=float, default=0.2)
    parser.add_argument("--grounding", type=float, default=0.3)
    parser.add_argument("--align", type=float, default=0.0, help="weight of the alignment with the trained UNet")
    parser.add_argument("--related", type=float, default=2.0, help="how much more often a caption with a side is drawn")
    parser.add_argument("--noisy", type=float, default=0.3, help="share of the levels that are drawn from the noisiest quarter")
    parser.add_argument("--mistold", type=float, default=0.0, help="share of the captions that say something else than their images, where they can")
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--start", type=Path, help="the folder of a saved pipeline to start from")
    parser.add_argument("--bfloat16", action="store_true", help="autocast")
    parser.add_argument("--compile", action="store_true", help="the transformer's blocks, for a GPU")
    args = parser.parse_args()
    begin(args)
    latents, masks, nouns, captions = training_set(args.cache, args.shards, 0)
    rng, truths = random.Random(args.seed), [caption_of(caption) for caption in captions]
    captions = [mistold(truth, rng).text if rng.random() < args.mistold else truth.text for truth in truths]
    positions = torch.stack([shown_tokens(*one) for one in zip(captions, truths, nouns.tolist(), strict=True)])
    net, texts = begun_from(args.start) if args.start else begun(args.cache)
    ids, empty = torch.stack(texts.ids(captions), 1), torch.stack(texts.ids([""]), 1)[0]  # (n, 2, 24)
    often = 1 + (args.related - 1) * torch.tensor([float(side_position(caption) > 0) for caption in captions])
    positions = both_tokens(positions)
    latents, masks, nouns, ids, empty, often, positions = (
        x.to(args.device) for x in (latents, masks, nouns, ids, empty, often, positions)
    )
    teacher = Teacher(args.cache, texts.clip_tokenizer, args.device) if args.align else None
    helpers = Helpers(net, stack.denoiser().config.block_out_channels[-1])
    model = nn.ModuleDict({"transformer": net, "texts": texts, "helpers": helpers}).to(args.device)
    ema = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    checkpoint = args.cache / "flow.pt"
    step, spent, fresh = resume(checkpoint, model, ema, optimiser, args.device)
    if args.compile:
        for i, block in enumerate(net.transformer_blocks):
            if i not in GROUNDED:  # what the taps read is not seen in compiled code
                block.compile()
    autocast = partial(torch.autocast, args.device.split(":")[0], torch.bfloat16, enabled=args.bfloat16)
    budget, before, began = 60 * args.minutes, spent, time.time()
    running = torch.zeros(4, device=args.device)
    with taps(net) as grounded:
        while spent < budget:
            generator = torch.Generator(args.device).manual_seed(args.seed * 1_000_003 + step)
            rand = partial(torch.rand, generator=generator, device=args.device)
            randn = partial(torch.randn, generator=generator, device=args.device)
            pick = torch.multinomial(often, args.batch, replacement=True, generator=generator)
            z0 = latents[pick].float()
            dropped = rand(args.batch, 2) < ALONE
            dropped |= rand(args.batch, 1) < 0.1  # for classifier-free guidance
            tokens = torch.where(dropped[..., None], empty, ids[pick])
            s = torch.where(rand(args.batch) < args.noisy, 1 - rand(args.batch) / 4, torch.sigmoid(randn(args.batch)))
            s = SHIFT * s / (1 + (SHIFT - 1) * s)
            noise = randn(z0.shape)
            grounded.clear()
            with autocast():
                states, pooled = texts(*tokens.unbind(1))
                v = net(torch.lerp(z0, noise, s[:, None, None, None]), states, pooled, 1000 * s).sample.float()
            features = [x.float() for x in helpers.read()]
            inside = masks[pick].float() / 255
            read = (~dropped).repeat_interleave(positions.shape[2] // 2, 1)  # (B, 6): of each token of a thing
            losses = [
                (v - (noise - z0)).square().mean(),
                naming_loss(helpers.naming, features, inside, nouns[pick]),
                grounding_loss(grounded.layers().values(), inside, positions[pick], read * (1 + 5 * (s > NOISY)[:, None])),
                torch.zeros((), device=args.device),
            ]
            if teacher is not None:
                taught = teacher.features(z0, noise, ids[pick, 0])
                losses[3] = 1 - F.cosine_similarity(helpers.align(features[0]), taught, dim=1).mean()
            factor = rate(step - fresh, spent, budget)
            for group in optimiser.param_groups:
                group["lr"] = args.lr * factor
            optimiser.zero_grad()
            loss = losses[0] + args.naming * losses[1] + args.align * losses[3]
            (loss + args.grounding * min(1, step / 200) * losses[2]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            average(ema, model, step)
            spent = before + time.time() - began
            running += torch.stack(losses).detach() / 50
            if step % 50 == 0:
                print(
                    f"flow: step {step} loss {running[0]:.4f} naming {running[1]:.4f} grounding {running[2]:.4f} "
                    f"aligned {running[3]:.4f} lr {args.lr * factor:.1e} {spent:.0f} s",
                    flush=True,
                )
                running.zero_()
            if step % 100 == 0:
                keep(checkpoint, model, ema, optimiser, step, spent)
    keep(checkpoint, model, ema, optimiser, step, spent)


if __name__ == "__main__":
    main()
