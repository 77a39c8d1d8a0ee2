"""VQAScore on a small model of a real class: the probability of "Yes" right after the question."""

import pytest
import torch
from tiny_rewards import lively
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from dymo import RewardError, load_reward
from dymo.pixels import to_pil
from dymo.rewards.vqa import QUESTION, VQAScore

WORDS = [
    "<pad>",
    "<unk>",
    "<image>",
    "Yes",
    "No",
    "USER",
    "ASSISTANT",
    "Does",
    "this",
    "figure",
    "show",
    "red",
    "apple",
    "car",
]
TEMPLATE = (
    "{% for message in messages %}USER {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %} {{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT{% endif %}"
)


def model():
    torch.manual_seed(0)
    text = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, pad_token_id=0
    )  # fmt: skip
    sight = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=sight.to_dict(), text_config=text.to_dict(), image_token_id=2, vision_feature_layer=-1
    )
    return lively(LlavaForConditionalGeneration(config))


def processor(template=TEMPLATE):
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", additional_special_tokens=["<image>"]
    )
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)
    return LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default", chat_template=template, num_additional_image_tokens=1
    )  # fmt: skip


def test_the_score_is_the_probability_of_yes(tmp_path):
    model().save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    reward, images = load_reward("vqascore", source=tmp_path), torch.rand(2, 3, 20, 20)
    prompts = ["a red apple", "a car"]
    made = reward.score(images, prompts)
    for image, prompt, score in zip(to_pil(images), prompts, made, strict=True):
        inputs = processor()(
            images=image, text=f"USER <image> {QUESTION.format(prompt)} ASSISTANT", return_tensors="pt"
        )
        with torch.no_grad():
            expected = model()(**inputs).logits[0, -1].softmax(-1)[WORDS.index("Yes")]
        torch.testing.assert_close(score, expected, atol=1e-6, rtol=1e-5)
    assert made[0] != made[1] and not torch.equal(made, reward.score(images.flip(0), prompts))
    assert not reward.differentiable and not made.requires_grad


def test_yes_and_its_rival_share_the_probability():
    given = model()
    scores = {}
    for answer in WORDS:
        scores[answer] = (
            VQAScore(given, processor(), "small", answer=answer).score(torch.ones(1, 3, 16, 16), ["car"]).item()
        )
    assert sum(scores.values()) == pytest.approx(1, abs=1e-5)


def test_an_answer_of_several_tokens_is_refused():
    with pytest.raises(RewardError, match="small: 'Yes No' is 2 tokens of this model"):
        VQAScore(model(), processor(), "small", answer="Yes No")
