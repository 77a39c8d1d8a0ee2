"""Tiny tokenizers, text encoders and processors, of the kinds that transformers' pipelines read their prompts with."""

from __future__ import annotations

import copy
import functools
import re
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BatchFeature,
    BertTokenizer,
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen3Config,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLModel,
    T5Config,
    T5EncoderModel,
)


@functools.cache
def t5_tokenizer() -> PreTrainedTokenizerFast:
    """As T5's: pieces that begin with a space's mark, no start token, an end token; some words are one piece."""
    words = ["▁a", "▁red", "▁apple", "▁and", "▁green", "▁car"]
    letters = ["▁", *(chr(c) for c in range(33, 127))]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((w, -1.0) for w in words), *((c, -5.0) for c in letters)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def t5(width: int = 32, vocabulary: int | None = None) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=vocabulary or len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ).eval()


CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}" \
    "{% for c in m['content'] %}{{ c['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}" \
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"  # fmt: skip


@functools.cache
def chat_tokenizer(start: bool = False, front: bool = False) -> PreTrainedTokenizerFast:
    """Bytes and a few words as Qwen's and Gemma's tokenizers; start: with a start token, as Gemma's.

    front: with two tokens before each text, and filled up before these, as GLM-4's.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "r"), ("r", "e"), ("re", "d"), ("a", "p"), ("l", "e")]
    special = ["<pad>", "<eos>", "<bos>", "<|im_start|>", "<|im_end|>"]
    tokens = [*special, *alphabet, *("".join(m) for m in merges), "[gMASK]", "<sop>"]
    made = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    if start:
        made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    if front:
        first = [(name, tokens.index(name)) for name in tokens[-2:]]
        made.post_processor = processors.TemplateProcessing(single="[gMASK] <sop> $A", special_tokens=first)
        special += tokens[-2:]
    names = dict(pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", additional_special_tokens=special[3:])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=4096, padding_side="left" if front else "right", chat_template=CHAT, **names
    )


def language_model(kind: type, config: type, layers: int = 2, width: int = 16, **changes: Any):
    return kind(
        config(
            vocab_size=300, hidden_size=width, intermediate_size=24, num_hidden_layers=layers, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, max_position_embeddings=1024, **changes,
        )
    ).eval()  # fmt: skip


def gemma():
    return {"text_encoder": language_model(Gemma2Model, Gemma2Config), "tokenizer": chat_tokenizer(True)}


def qwen3():
    return {"text_encoder": language_model(Qwen3Model, Qwen3Config), "tokenizer": chat_tokenizer()}


VISION = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")


def qwen3_vl(kind: type = Qwen3VLModel):
    text = dict(
        vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, max_position_embeddings=1024, rope_parameters=dict(rope_type="default", mrope_section=[2, 1, 1], rope_theta=10000.0),
    )  # fmt: skip
    vision = dict(
        depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=16, num_position_embeddings=16, patch_size=16,
        deepstack_visual_indexes=[0],
    )  # fmt: skip
    first = len(chat_tokenizer())  # the tokens of VISION follow
    tokens = dict(vision_start_token_id=first, image_token_id=first + 1, vision_end_token_id=first + 2)
    return kind(Qwen3VLConfig(text_config=text, vision_config=vision, **tokens)).eval()


@functools.cache
def bert_tokenizer() -> BertTokenizer:
    """Small letters, and words in pieces that begin with "##" but for the first."""
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "app", "and", "green", "car", *letters, *(f"##{c}" for c in letters)]
    return BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=77)


class Processor:
    """Qwen3-VL's, of its parts: the real one cannot be made without torchvision, for its videos."""

    def __init__(self):
        self.tokenizer = copy.deepcopy(chat_tokenizer())
        self.tokenizer.add_special_tokens({"additional_special_tokens": list(VISION)}, replace_extra_special_tokens=False)
        self.images = Qwen2VLImageProcessorPil(patch_size=16, merge_size=2, size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64})

    def apply_chat_template(self, messages: list, tokenize: bool = True, **settings: Any) -> Any:
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, **{"add_generation_prompt": False, **settings})
        return [self.tokenizer(text).input_ids] if tokenize else text

    def __call__(self, text: list[str], images: list | None = None, videos: None = None, **settings: Any) -> Any:
        found = BatchFeature()
        if images is not None:
            found.update(self.images(images, return_tensors="pt"))
            slots = [int(grid.prod()) // 4 for grid in found["image_grid_thw"]]
            text = [re.sub(re.escape(VISION[1]), lambda _: VISION[1] * slots.pop(0), one) for one in text]
        found.update(self.tokenizer(text, **settings))
        found["mm_token_type_ids"] = (found["input_ids"] == self.tokenizer.convert_tokens_to_ids(VISION[1])).int()
        return found


@dataclass
class ImageProcessing:
    """In the place of a language model's processor, which asks for a package for videos too."""

    image_processor: Any


