"""VQAScore (arXiv 2404.01291): how likely a vision-language model says "Yes" when asked whether an image shows the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from ..errors import RewardError
from ..pixels import to_pil
from .clip import pretrained
from .registry import Spec
from .tower import TowerReward

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'


class VQAScore(TowerReward):
    """P(next token = answer | image, question), in 0..1, without a gradient: the model's own processor works on 8-bit images.

    model: a transformers model for image and text to text; processor: its own, with a chat template. Raises RewardError
    where the answer is not one token.
    """

    differentiable = False

    def __init__(
        self, model: Any, processor: Any, name: str, question: str = QUESTION, answer: str = "Yes", **more: Any
    ):
        super().__init__(model, name, None, (), **more)
        self.processor, self.question = processor, question
        ids = processor.tokenizer.encode(answer, add_special_tokens=False)
        if len(ids) != 1:
            raise RewardError(f"{name}: {answer!r} is {len(ids)} tokens of this model; give an answer that is one")
        self.answer = ids[0]

    @torch.no_grad()
    def _score(self, images: Tensor, prompts: Sequence[str], timestep: float | None) -> Tensor:
        return torch.stack([self._ask(image, prompt) for image, prompt in zip(to_pil(images), prompts, strict=True)])

    def _ask(self, image: Image.Image, prompt: str) -> Tensor:
        content = [{"type": "image", "image": image}, {"type": "text", "text": self.question.format(prompt)}]
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )  # fmt: skip
        logits = self.model(**inputs.to(self.device, dtype=self.dtype)).logits[0, -1]
        return logits.float().softmax(-1)[self.answer]


def load_vqa(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **settings: Any) -> VQAScore:
    """source: the hub id or folder of any such model, in safetensors. Raises RewardError."""
    settings.pop("checkpointing", None)  # without a gradient nothing is kept
    model = pretrained(AutoModelForImageTextToText, source, spec.name, dtype)
    return VQAScore(model, AutoProcessor.from_pretrained(source), spec.name, **spec.of_scores, **settings)
