"""A CLIP tokenizer made here: bytes and a few merges, so that most words split into several pieces."""

from __future__ import annotations

import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

WINDOW = 32
MERGES = [("r", "e"), ("re", "d</w>"), ("a", "p"), ("ap", "p"), ("c", "a"), ("ca", "r</w>"), ("l", "e</w>")]


def make_tokenizer(window: int = WINDOW) -> CLIPTokenizer:
    letters = sorted(ByteLevel.alphabet())
    tokens = letters + [f"{letter}</w>" for letter in letters] + ["".join(merge) for merge in MERGES]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=MERGES, model_max_length=window)


@pytest.fixture(scope="session")
def tokenizer() -> CLIPTokenizer:
    return make_tokenizer()


@pytest.fixture(scope="session")
def short_tokenizer() -> CLIPTokenizer:
    return make_tokenizer(window=12)
