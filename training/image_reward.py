"""Train mini-imagereward: ImageReward's architecture, small, by regression on ranked images.

    python -m training.image_reward [--device cpu] [--minutes 15]

A group of the scorers' images is a ranking: right, right and spoilt, wrong, wrong and spoilt. The score is the place in
it, standardised over the training set. As in the original the head is affine and its mean and deviation stand in the file.
What stands in for BLIP's pretraining: the cells know what is at their place (a head that is thrown away); half of the heads
of the cross-attention lead from a word to the cells that show it, or to the image's first token where none does; and each
noun of the text knows whether the image shows it in its colour (a head that is thrown away). Without the second the words
are not found: nouns stayed at chance.
"""

from __future__ import annotations

import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dymo.miniature.world import COLOURS, MOST
from dymo.rewards.image_reward import ImageRewardModel, Sizes

from . import stack
from .augment import appearance, to_images
from .denoiser import word_positions
from .fit import arguments, begin, fit
from .judge import cells
from .scenes import SIZE
from .scorers import CELLS, GROUPS, accuracy, cell_loss, groups, normalised, place, standing

RANKS = (3.0, 2.0, 1.0, 0.0)
"""Of a group's four images; the text of another group is worth nothing to any of them."""
STRANGER = -1.0
MEAN, STD = 0.95, 1.45
"""About those of the ranks, a fifth of the images being shown with a stranger's text."""


def mini_image_reward(tok) -> ImageRewardModel:
    sizes = Sizes(
        image_size=SIZE, patch_size=16, vision_width=128, vision_layers=4, vision_heads=4, text_width=128, text_layers=3,
        text_heads=4, vocabulary=len(tok), positions=stack.WINDOW, window=stack.WINDOW, hidden=(64, 32, 16, 8), mean=MEAN, std=STD,
    )  # fmt: skip
    return ImageRewardModel(sizes)


def asked(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each text its things as [noun, colour] (n, 3, 2), -2 for none; and the tokens of these words, 0 for none."""
    things, at = torch.full((len(texts), MOST, 2), -2), torch.zeros(len(texts), MOST, 2, dtype=torch.long)
    colours = list(COLOURS)
    for i, text in enumerate(texts):
        words = re.findall(r"\w+|,", text)
        for k, (colour, noun, which) in enumerate(word_positions(text)):
            things[i, k] = torch.tensor([which, colours.index(words[colour - 1])])
            at[i, k] = torch.tensor([noun, colour])
    return things, at


def finding_loss(layers: list[torch.Tensor], at: torch.Tensor, same: torch.Tensor, cover: torch.Tensor) -> torch.Tensor:
    """Minus the logarithm of the attention that leads where it should, averaged over words and layers.

    layers: of each the probabilities (B, heads, tokens, 1 + 64), half of whose heads are asked; at (B, 3, 2) the tokens of
    things' nouns and colours; same (B, 3, 3, 2) bool: whether a thing of the text and an object of the image agree in noun,
    in colour; cover (B, 3, 64): of the objects. The first layer is to find each word, the others the thing of both.
    """
    losses = []
    for k, found in enumerate(layers):
        agree = (same if k == 0 else same.all(-1, keepdim=True).expand_as(same)).float()
        inside = torch.einsum("btow,boc->btwc", agree, cover).clamp(max=1)
        wanted = torch.cat([(agree.amax(2) == 0).float()[..., None], inside], -1)  # B thing word 1 + 64
        mean = found[:, : found.shape[1] // 2].mean(1)
        own = mean.gather(1, at.flatten(1)[..., None].expand(-1, -1, mean.shape[-1])).unflatten(1, at.shape[1:])
        losses.append(-((own * wanted).sum(-1) + 1e-4).log()[at > 0].mean())
    return torch.stack(losses).mean()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--cells-steps", type=int, default=2000, help="of the image tower alone, first")
    parser.add_argument("--batch", type=int, default=10, help="groups a step")
    parser.add_argument("--lr", type=float, default=7e-4)
    args = parser.parse_args()
    args.seed += 202  # its own images' augmentation and weights
    begin(args)
    tok, n = stack.tokenizer(), args.batch
    data = groups(args.cache, GROUPS, args.seed - 202)
    images, masks, nouns, colours = (torch.from_numpy(data[k]) for k in ("images", "masks", "nouns", "colours"))
    window = dict(padding="max_length", max_length=stack.WINDOW, return_tensors="pt")
    words = tok([str(t) for t in data["right"]], **window)
    space = stack.pca(args.cache)
    reward = mini_image_reward(tok)
    inner = reward.vision.embeddings
    place(inner.position_embedding[0], inner.patch_embedding.weight)
    reward.mlp.apply(lambda m: setattr(m, "p", 0.0) if isinstance(m, nn.Dropout) else None)  # too little data for it
    heads = {"cells": nn.Linear(128, sum(CELLS) + len(CELLS)), "shown": nn.Linear(128, 1)}
    said, at = asked([str(t) for t in data["right"]])
    model = nn.ModuleDict({"reward": reward, **heads}).to(args.device)

    def wanted_cells(pick: torch.Tensor) -> torch.Tensor:
        """Soft labels (4n, 35, 8, 8) of noun, colour and side of the groups' images."""
        cover = masks[pick].flatten(0, 1).float() / 255
        kinds = nouns[pick].flatten(0, 1).long(), colours[pick].flatten(0, 1).long()
        labels = [cells(cover, k, size) for k, size in zip((*kinds, standing(cover, kinds[0])), CELLS, strict=True)]
        return F.avg_pool2d(torch.cat(labels, 1), 2).to(args.device)

    def looking(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
        pick = torch.randint(0, GROUPS, (n,), generator=generator)
        x = appearance(to_images(images[pick].flatten(0, 1)), space, generator, 0.3).to(args.device)
        seen = reward.vision(pixel_values=normalised(x)).last_hidden_state
        return {"cells": cell_loss(model["cells"](seen[:, 1:]), wanted_cells(pick))}

    # Words cannot be found in images that are not yet told apart.
    fit("imagereward-cells", model, looking, args, steps=args.cells_steps, lr=1e-3, weight_decay=0.05)

    attention: list[torch.Tensor] = []
    hooks = [
        layer.crossattention.self.register_forward_hook(lambda _module, _inputs, output: attention.append(output[1]))
        for layer in reward.text.encoder.layer
    ]

    def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
        pick = torch.randint(0, GROUPS, (n,), generator=generator)
        x = appearance(to_images(images[pick].flatten(0, 1)), space, generator, 0.3).to(args.device)
        rank = torch.tensor(RANKS).repeat(n)
        strange = torch.rand(4 * n, generator=generator) < 0.2
        text = torch.where(strange, pick.roll(1).repeat_interleave(4), pick.repeat_interleave(4))
        rank = torch.where(strange, STRANGER, rank)
        seen = reward.vision(pixel_values=normalised(x)).last_hidden_state
        mask = words.attention_mask[text].to(args.device)
        states = reward.text(
            encoder_embeds=reward.embed(words.input_ids[text].to(args.device)),
            attention_mask=mask,
            encoder_hidden_states=seen,
        ).last_hidden_state
        wanted = ((rank - MEAN) / STD).to(args.device)
        what = torch.stack([nouns[pick], colours[pick]], -1).flatten(0, 1).long()  # (4n, 3, 2)
        same = (said[text][:, :, None] == what[:, None]).to(args.device)  # (4n, 3 things, 3 objects, 2)
        cover = F.avg_pool2d(masks[pick].flatten(0, 1).float() / 255, 2).flatten(2).to(args.device)
        tokens = at[text].to(args.device)
        there, own = tokens[..., 0] > 0, tokens[..., 0, None].expand(-1, -1, 128)
        shown = F.binary_cross_entropy_with_logits(
            model["shown"](states.gather(1, own))[..., 0][there], same.all(-1).any(-1)[there].float()
        )
        layers = attention.copy()
        attention.clear()
        return {
            "regression": F.mse_loss((reward.mlp(states[:, 0]) - MEAN) / STD, wanted),
            "shown": shown,
            "finding": 0.3 * finding_loss(layers, tokens, same, cover),
            "cells": (0.5 - 0.45 * step / args.steps) * cell_loss(model["cells"](seen[:, 1:]), wanted_cells(pick)),
        }

    fit("imagereward", model, losses, args, steps=args.steps, lr=args.lr, weight_decay=0.05)

    for hook in hooks:
        hook.remove()

    def score(shown: torch.Tensor, texts: list[str]) -> np.ndarray:
        tokens = tok(texts, **window).to(args.device)
        return (
            reward(normalised(shown.to(args.device)), reward.embed(tokens.input_ids), tokens.attention_mask)
            .cpu()
            .numpy()
        )

    accuracy("mini_imagereward", score, args)


if __name__ == "__main__":
    main()
