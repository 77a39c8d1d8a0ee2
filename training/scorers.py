"""Train the miniature's preference models on pairs of images of one prompt: `mini-pickscore` and `mini-hps`.

    python -m training.scorers [--part pickscore hps] [--device cpu] [--minutes 12]

mini-pickscore is a CLIPModel trained by PickScore's objective (Kirstain et al., 2023): the softmax over the two
scores exp(logit_scale) * cos(text, image) against the preference, ties as one half. mini-hps is another
architecture (dymo.miniature.preference), from another seed, on other images. Half of what people prefer is quality
and half is content, and so are the pairs: the clean image against the spoilt one; the one that shows what the
prompt says against one with colours exchanged, a wrong colour, a wrong or missing object, a wrong count, or the other relation.

Two auxiliary terms stand in for the web-scale pretraining that the originals start from: each image must know its
own caption among the batch's (contrastive; the other images' captions are hard negatives of it), and the towers'
cells must know the noun and colour at their place. The head of the latter is thrown away.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPConfig, CLIPModel

from dymo.miniature.judge import COLOUR_NAMES
from dymo.miniature.preference import ConvPreference
from dymo.miniature.world import ALL_THINGS, COLOURS, COUNTS, MOST, NOUNS, Caption, caption_of, sample_caption, split_of

from . import stack
from .augment import appearance, to_images
from .fit import arguments, begin, fit, record
from .judge import OPPOSITE, cells
from .scenes import FLAWS, GRID, SIZE, Composer, padded

GROUPS = 4000
CAPTIONS = 20_000
# How far a image is pushed against mini-pickscore while it learns, in the L2 norm of a image in [0, 1].
ADVERSARY = 1.5
PROJECTION = 256
KINDS = ("swap", "colour", "object", "missing", "relation", "count")
# What a pair compares, as indices into a group's four images (right, right and spoilt, wrong, wrong and spoilt), how
# often, and how often the first is preferred: to be right and spoilt is a little better than to be wrong and clean.
PAIRS = ((0, 1, 0.3, 1.0), (0, 2, 0.4, 1.0), (1, 3, 0.1, 1.0), (0, 3, 0.08, 1.0), (1, 2, 0.07, 0.7), (0, 0, 0.05, 0.5))
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def mistaken(caption: Caption, rng: random.Random) -> tuple[str, Caption]:
    """A caption near this one that an image of it would be wrong for, and the kind of mistake."""
    things, objects = list(caption.things), len(caption.instances)
    kinds = ["colour", "object"]
    k = rng.randrange(len(things))
    other_counts = [n for n in range(1, MOST + 1) if n != things[k].count and objects - things[k].count + n <= MOST]
    if len(things) > 1:
        kinds += ["object", "missing"] + ["swap"] * 3 * (things[0].colour != things[1].colour)
        kinds += ["relation"] * 12 * (caption.relation in OPPOSITE)
    if other_counts:
        kinds += ["count"] * (1 + 2 * (things[k].count > 1))
    kind = rng.choice(kinds)
    if kind == "swap":
        things[:2] = [replace(things[0], colour=things[1].colour), replace(things[1], colour=things[0].colour)]
    elif kind == "colour":
        things[k] = replace(things[k], colour=rng.choice([c for c in COLOURS if c != things[k].colour]))
    elif kind == "object":
        things[k] = replace(things[k], noun=rng.choice([n for n in NOUNS if n not in {t.noun for t in things}]))
    elif kind == "count":
        things[k] = replace(things[k], count=rng.choice(other_counts))
    elif kind == "missing":
        del things[k]
        return kind, Caption(tuple(things), "and" if k == 0 or len(things) == 1 else caption.relation)
    else:
        return kind, replace(caption, relation=OPPOSITE[caption.relation])
    return kind, Caption(tuple(things), caption.relation)


def groups(cache: Path, n: int, seed: int, test: bool = False) -> dict[str, np.ndarray]:
    """`n` groups of four images of one prompt, kept on disk; captions of the test split only if `test`, else of train.

    images (n, 4, 128, 128, 3) uint8; masks (n, 4, 3, 16, 16) uint8; nouns, colours (n, 4, 3) int8, -1 for no object;
    right, wrong (n,) captions; kind (n,).
    """
    path = cache / f"pairs-{n}-{seed}-{'test' if test else 'train'}.npz"
    if not path.exists():
        composer, rng = Composer(cache), random.Random(f"groups-{seed}")
        images, masks = np.zeros((n, 4, SIZE, SIZE, 3), np.uint8), np.zeros((n, 4, MOST, GRID, GRID), np.uint8)
        nouns, colours = np.zeros((n, 4, MOST), np.int8), np.zeros((n, 4, MOST), np.int8)
        words: list[tuple[str, str, int]] = []
        while len(words) < n:
            caption = sample_caption(rng, ALL_THINGS, shares=(0.2, 0.45, 0.35))
            if len(caption.instances) > 1 and split_of(caption) != ("test" if test else "train"):
                continue
            kind, other = mistaken(caption, rng)
            i = len(words)
            for j, (shown, flawed) in enumerate(((caption, False), (caption, True), (other, False), (other, True))):
                scene = composer.compose(shown, rng, rng.choice(FLAWS) if flawed else None)
                images[i, j] = scene.image
                masks[i, j], nouns[i, j], colours[i, j] = padded(scene)
            words.append((caption.text, other.text, KINDS.index(kind)))
        right, wrong, kinds = zip(*words, strict=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(
            partial, images=images, masks=masks, nouns=nouns, colours=colours,
            right=right, wrong=wrong, kind=np.array(kinds, np.int8),
        )  # fmt: skip
        partial.rename(path)
    return dict(np.load(path))


def facts(text: str) -> list[float]:
    """What a caption says, many-hot: each noun in each colour (160); of each noun the side it is said to be on (80),
    and how many there are, beyond one (40).
    """
    caption, sides = caption_of(text), list(OPPOSITE)
    shown = [0.0] * (len(NOUNS) * len(COLOUR_NAMES))
    placed, counted = [0.0] * (len(NOUNS) * len(sides)), [0.0] * (len(NOUNS) * len(COUNTS))
    for k, thing in enumerate(caption.things):
        noun = NOUNS.index(thing.noun)
        shown[noun * len(COLOUR_NAMES) + COLOUR_NAMES.index(thing.colour)] = 1.0
        if caption.relation in OPPOSITE:
            side = OPPOSITE[caption.relation] if k else caption.relation
            placed[noun * len(sides) + sides.index(side)] = 1.0
        if thing.count > 1:
            counted[noun * len(COUNTS) + list(COUNTS).index(thing.count)] = 1.0
    return shown + counted + placed


CELLS = len(NOUNS), len(COLOUR_NAMES), len(OPPOSITE)
"""What a cell may show, beside nothing: nouns, colours, and the sides on which its object stands."""
FACTS = len(NOUNS) * (len(COLOUR_NAMES) + len(COUNTS) + len(OPPOSITE))


def standing(masks: torch.Tensor, nouns: torch.Tensor) -> torch.Tensor:
    """On which side of the other nouns each object stands, (B, 3): an index into OPPOSITE, -1 for none.

    masks (B, 3, 16, 16) and nouns (B, 3) of an image's objects, -1 for none: what a caption may say, whether it does or
    not. Left and right where the centres are farther apart across than down, else above and below; equal objects stand
    where all of them do, and an image of one noun has no sides.
    """
    axis = torch.arange(GRID, dtype=torch.float32)
    weight = masks.sum((2, 3)).clamp(min=1e-6)
    at = torch.stack([masks.sum(2) @ axis, masks.sum(3) @ axis], -1) / weight[..., None]  # B object (x, y)
    there = nouns >= 0
    own = (nouns[:, :, None] == nouns[:, None]) & there[:, :, None] & there[:, None]  # B object object
    other = there[:, :, None] & there[:, None] & ~own

    def middle(which: torch.Tensor) -> torch.Tensor:
        return which.float() @ at / which.sum(2, keepdim=True).clamp(min=1)

    dx, dy = (middle(other) - middle(own)).unbind(-1)
    side = torch.where(dx.abs() >= dy.abs(), torch.where(dx > 0, 0, 1), torch.where(dy > 0, 2, 3))
    return torch.where(other.any(2), side, -1)


def sides(masks: torch.Tensor, nouns: torch.Tensor) -> torch.Tensor:
    """`standing` by noun: (B, 80) many-hot in the order of `facts`."""
    side = standing(masks, nouns)
    found = torch.zeros(len(masks), len(NOUNS), len(OPPOSITE))
    rows, objects = (side >= 0).nonzero(as_tuple=True)
    found[rows, nouns[rows, objects], side[rows, objects]] = 1.0
    return found.flatten(1)


class Batches:
    """Draws pairs from groups: `draw` gives images and texts of 2n and 2n, labels, and what the images' cells show."""

    def __init__(self, cache: Path, seed: int, tok, device: str):
        data = groups(cache, GROUPS, seed)
        self.images, self.masks = torch.from_numpy(data["images"]), torch.from_numpy(data["masks"])
        self.nouns, self.colours = (torch.from_numpy(data[key]).long() for key in ("nouns", "colours"))
        self.device = device
        self.space = stack.pca(cache)
        texts = [*map(str, data["right"]), *map(str, data["wrong"])]
        self.ids = tok(texts, padding="max_length", max_length=stack.WINDOW, return_tensors="pt").input_ids.view(
            2, GROUPS, -1
        )
        numbers = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        self.number = torch.tensor([numbers[text] for text in texts]).view(2, GROUPS)
        self.facts = torch.tensor([facts(text) for text in texts]).view(2, GROUPS, -1)

    def draw(self, n: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """images (2n, 3, 128, 128): the first of each pair, then the second; ids (2n, T): the right text of each group,
        then the wrong one; own (2n,): which text each image was composed from; same (2n, 2n): texts that are equal to
        a image's own; label (n,): how often the first is preferred; reverse (n,): whether the wrong text would have it
        the other way round; cells (2n, 35, 8, 8): soft labels of noun, colour and side; facts (2n, 280): of the texts; seen (2n, 280): of the images.
        """
        pick = torch.randint(0, GROUPS, (n,), generator=generator)
        kinds = torch.multinomial(torch.tensor([p[2] for p in PAIRS]), n, replacement=True, generator=generator)
        first, second = torch.tensor([p[0] for p in PAIRS])[kinds], torch.tensor([p[1] for p in PAIRS])[kinds]
        label = torch.tensor([p[3] for p in PAIRS])[kinds]
        rows, columns = torch.cat([pick, pick]), torch.cat([first, second])
        x = appearance(to_images(self.images[rows, columns]), self.space, generator, 0.3)
        dy, dx = torch.randint(0, 13, (2,), generator=generator).tolist()
        x = F.pad(x, (6, 6, 6, 6), mode="replicate")[:, :, dy : dy + SIZE, dx : dx + SIZE]
        cover = self.masks[rows, columns].float() / 255
        labels = self.nouns[rows, columns], self.colours[rows, columns], standing(cover, self.nouns[rows, columns])
        shown = [cells(cover, label, classes) for label, classes in zip(labels, CELLS, strict=True)]
        own = torch.arange(n).repeat(2) + n * (columns >= 2)
        number = self.number[:, pick].flatten()
        seen = self.facts.flatten(0, 1)[columns // 2 * GROUPS + rows].clone()
        # "A above B and C" says it of B and C against A alone; what nothing is said of is read from the masks.
        said = seen[:, -len(NOUNS) * len(OPPOSITE) :].unflatten(1, (len(NOUNS), -1))
        read = sides(cover, self.nouns[rows, columns]).view_as(said)
        said += read * (said.amax(2, keepdim=True) == 0)
        batch = {
            "images": x.contiguous(memory_format=torch.channels_last), "ids": self.ids[:, pick].flatten(0, 1), "own": own,
            "same": number[own][:, None] == number, "label": label, "reverse": (first < 2) & (second >= 2),
            "cells": F.avg_pool2d(torch.cat(shown, 1), 2), "facts": self.facts[:, pick].flatten(0, 1), "seen": seen,
        }  # fmt: skip
        return {key: value.to(self.device) for key, value in batch.items()}


def cell_loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits (B, 64, 35) of noun, colour and side against soft labels (B, 35, 8, 8)."""
    wanted, sizes = wanted.flatten(2).transpose(1, 2), [classes + 1 for classes in CELLS]
    pairs = zip(logits.split(sizes, 2), wanted.split(sizes, 2), strict=True)
    return sum(F.cross_entropy(made.flatten(0, 1), true.flatten(0, 1)) for made, true in pairs)


def preference(first: torch.Tensor, second: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """PickScore's loss, an item each: cross-entropy of softmax([first, second]) with [label, 1 - label]."""
    return F.binary_cross_entropy_with_logits(first - second, label, reduction="none")


def mini_clip(tok) -> CLIPModel:
    text = dict(
        vocab_size=len(tok), hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=stack.WINDOW, bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id,
    )  # fmt: skip
    vision = dict(
        hidden_size=128,
        intermediate_size=768,  # a neuron for each noun in each colour and on each side
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=16,
    )
    made = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION))
    inner = made.vision_model.embeddings
    place(inner.position_embedding.weight, inner.patch_embedding.weight)
    return made


@torch.no_grad()
def place(positions: torch.Tensor, patches: torch.Tensor) -> None:
    """Add waves over the image to position embeddings (1 + cells, width), half as strong as what the patches' kernels give.

    From CLIP's own start, which is much weaker, a small tower hardly learns where things are.
    """
    side = math.isqrt(len(positions) - 1)
    axis = torch.arange(side) / side
    angles = 2 * math.pi * torch.tensor([0.5, 1.0, 2.0, 4.0])[:, None, None] * axis[:, None].expand(side, side)
    waves = torch.cat([f(a) for a in (angles, angles.transpose(1, 2)) for f in (torch.sin, torch.cos)])  # 16 side side
    mixed = waves.flatten(1).T @ torch.randn(len(waves), positions.shape[1]) / len(waves) ** 0.5
    positions[1:] += 0.5 * patches.std() * patches[0].numel() ** 0.5 * mixed


def normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (images - mean) / std


def image_features(clip: CLIPModel, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit embeddings (B, 256) of images, and the vision tower's cell states (B, 64, 128)."""
    seen = clip.vision_model(pixel_values=normalised(images))
    return F.normalize(clip.visual_projection(seen.pooler_output), dim=-1), seen.last_hidden_state[:, 1:]


def text_features(clip: CLIPModel, ids: torch.Tensor) -> torch.Tensor:
    """Unit embeddings (B, 256) of texts (B, T)."""
    return F.normalize(clip.text_projection(clip.text_model(input_ids=ids).pooler_output), dim=-1)


def accuracy(name: str, score, args) -> None:
    """Share of fresh pairs (test captions) that `score(images, texts)` orders rightly, by what the pair differs in."""
    data = groups(args.cache, 1000, seed=1000, test=True)
    images = torch.from_numpy(data["images"])
    texts, kind = [str(t) for t in data["right"]], data["kind"]
    with torch.no_grad():
        scores = np.stack(
            [
                np.concatenate(
                    [score(to_images(images[i : i + 100, j]), texts[i : i + 100]) for i in range(0, 1000, 100)]
                )
                for j in range(4)
            ]
        )
    wrong, spoilt_wrong = scores[0] > scores[2], scores[1] > scores[3]
    named = {
        "colour": ("swap", "colour"),
        "colour_swap": ("swap",),
        "object": ("object", "missing"),
        "relation": ("relation",),
        "count": ("count",),
    }
    among = {key: np.isin(kind, [KINDS.index(k) for k in kinds]) for key, kinds in named.items()}
    found = {
        "quality": float((scores[0] > scores[1]).mean()),
        "content": float(wrong.mean()),
        "content_both_spoilt": float(spoilt_wrong.mean()),
    }
    record(**{name: found | {key: round(float(wrong[mask].mean()), 4) for key, mask in among.items()}})


def fact_loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of fact logits (B, 280), an item each; sides count twice, and only where the caption says one."""
    things = len(NOUNS) * (len(COLOUR_NAMES) + len(COUNTS))
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    said = wanted[:, things:].amax(1)
    return each[:, :things].sum(1) + 2 * said * each[:, things:].sum(1)


def against(images: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor], reach: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, H, W) moved by `reach` (B, 1, 1, 1) up the gradient of `loss`, in the L2 norm."""
    source = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(source), source)
    size = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    return (images + reach * gradient / size).clamp(0, 1).detach()


def learn_words(model: nn.ModuleDict, tok, args) -> None:
    """Teach mini-pickscore's text tower what captions say, from captions of the train split alone."""
    rng, texts = random.Random(f"captions-{args.seed}"), []
    while len(texts) < CAPTIONS:
        caption = sample_caption(rng, ALL_THINGS, shares=(0.2, 0.45, 0.35))
        if split_of(caption) == "train":
            texts.append(caption.text)
    ids = tok(texts, padding="max_length", max_length=stack.WINDOW, return_tensors="pt").input_ids.to(args.device)
    said = torch.tensor([facts(text) for text in texts], device=args.device)

    def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
        pick = torch.randint(0, CAPTIONS, (64,), generator=generator)
        return {"facts": fact_loss(model["facts"](11 * text_features(model["clip"], ids[pick])), said[pick]).mean()}

    fit("pickscore-text", model, losses, args, steps=args.text_steps, lr=args.lr, weight_decay=0.05)


def train_pickscore(args) -> None:
    tok = stack.tokenizer()
    batches = Batches(args.cache, args.seed, tok, args.device)
    heads = {"cells": nn.Linear(128, sum(CELLS) + len(CELLS)), "facts": nn.Linear(PROJECTION, FACTS)}
    model = nn.ModuleDict({"clip": mini_clip(tok), **heads}).to(args.device)
    learn_words(model, tok, args)
    n = args.batch

    def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
        b = batches.draw(n, generator)
        i, every = torch.arange(n, device=b["ids"].device), torch.arange(2 * n, device=b["ids"].device)
        texts = text_features(model["clip"], b["ids"])

        def read(
            images: torch.Tensor, words: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
            image, states = image_features(model["clip"], images)
            scores = model["clip"].logit_scale.clamp(max=4.6).exp() * image @ words.T
            a, c = scores[:n], scores[n:]
            asked = preference(a[i, i], c[i, i], b["label"]).mean()
            turned = (preference(c[i, n + i], a[i, n + i], torch.ones_like(b["label"])) * b["reverse"]).mean()
            return asked + turned, scores, image, states

        images = b["images"]
        if step >= 3 * args.steps // 4:
            reach = ADVERSARY * torch.rand(2 * n, 1, 1, 1, generator=generator).to(images.device)
            fixed = texts.detach()
            images = against(images, lambda x: read(x, fixed)[0], reach)
        preferred, scores, image, states = read(images, texts)
        rivals = scores.masked_fill(b["same"] & (every[None] != b["own"][:, None]), -1e4)
        fact = fact_loss(model["facts"](11 * image), b["seen"]) + fact_loss(
            model["facts"](11 * texts), b["facts"]
        )
        return {
            "preference": preferred,
            "contrastive": 0.3 * F.cross_entropy(rivals, b["own"]),
            "facts": 0.2 * fact.mean(),
            "cells": (1.0 - 0.9 * step / args.steps) * cell_loss(model["cells"](states), b["cells"]),
        }

    fit("pickscore", model, losses, args, steps=args.steps, lr=args.lr, weight_decay=0.05)
    clip, window = model["clip"], dict(padding="max_length", max_length=stack.WINDOW, return_tensors="pt")

    def score(images: torch.Tensor, texts: list[str]) -> np.ndarray:
        ids = tok(texts, **window).input_ids
        image = image_features(clip, images.to(args.device))[0]
        return (image * text_features(clip, ids.to(args.device))).sum(1).cpu().numpy()

    accuracy("mini_pickscore", score, args)


def conv_preference(tok) -> ConvPreference:
    return ConvPreference(len(tok), width=96, window=stack.WINDOW, pad_token_id=tok.pad_token_id, tokenizer=tok)


def train_hps(args) -> None:
    args.seed += 101  # other images, other pairs, other weights
    torch.manual_seed(args.seed)
    tok = stack.tokenizer()
    batches = Batches(args.cache, args.seed, tok, args.device)
    scorer = conv_preference(tok).to(args.device, memory_format=torch.channels_last)
    model = nn.ModuleDict({"scorer": scorer, "cells": nn.Linear(96, sum(CELLS) + len(CELLS))}).to(
        args.device
    )
    n = args.batch

    def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
        b = batches.draw(n, generator)
        states, words = scorer.cells(b["images"]), scorer.words(b["ids"])
        # The mask of the padding: all after the first end token, with which the tokenizer pads.
        real = (b["ids"] == tok.eos_token_id).cumsum(1) - (b["ids"] == tok.eos_token_id).long() == 0
        every = torch.arange(2 * n, device=states.device)
        twin = (every + n) % (2 * n)  # the group's other text
        stray = torch.randint(0, 2 * n, (2 * n,), generator=generator).to(states.device)
        texts = torch.cat([b["own"], twin[b["own"]], stray])
        own, other, random_text = scorer.compare(states.repeat(3, 1, 1), words[texts], real[texts]).view(3, 2 * n)
        right = torch.where(b["own"] < n, own, other)  # the score of each image for its group's right text ...
        wrong = torch.where(b["own"] < n, other, own)  # ... and for the wrong one
        asked = preference(right[:n], right[n:], 0.02 + 0.96 * b["label"]).mean()
        turned = (preference(wrong[n:], wrong[:n], torch.full_like(b["label"], 0.98)) * b["reverse"]).mean()
        random_text = random_text.masked_fill(b["same"][every, stray], -1e4)
        return {
            "preference": asked + turned,
            "contrastive": 0.3 * F.cross_entropy(torch.stack([own, other, random_text], 1), torch.zeros_like(every)),
            "cells": (1.0 - 0.9 * step / args.hps_steps) * cell_loss(model["cells"](states), b["cells"]),
        }

    fit("hps", model, losses, args, steps=args.hps_steps, lr=args.lr, weight_decay=0.05)
    accuracy("mini_hps", lambda images, texts: scorer.score(images.to(args.device), texts).cpu().numpy(), args)


def main() -> None:
    parser = arguments(__doc__, ("pickscore", "hps"))
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument("--text-steps", type=int, default=4500, help="of mini-pickscore's text tower alone, first")
    parser.add_argument("--hps-steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=24, help="pairs a step")
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    begin(args)
    if "pickscore" in args.part:
        train_pickscore(args)
    if "hps" in args.part:
        train_hps(args)


if __name__ == "__main__":
    main()
