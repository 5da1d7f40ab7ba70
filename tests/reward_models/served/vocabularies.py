"""Small tokenizers of the real kinds: trained on the spot, with the tokens that matter at their real ids."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TRAINED_TOKENS = 600
TEXT = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.",
    "How many clips did Natalia sell altogether in April and May? The answer is 72 clips.",
    "Step 1: Janet's ducks lay 16 eggs per day, so she eats three for breakfast every morning.",
    "Step 2: She has 16 - 3 = 13 eggs left, and 13 + 4 = 17 eggs in all. Therefore $x = \\frac{17}{2}$.",
    "Let us solve the equation: since the sum of the numbers is odd, the product must be even.",
    # Real vocabularies have tokens of a full stop and newlines, across which texts are cut and joined.
    "So she is right.\nThis is even.\n\nThat is odd.\n\nTherefore, it holds.\n" * 4,
    "".join(map(chr, range(33, 127))),
    "Найди последний знак суммы ошибки.",
)

# Qwen2.5's and Llama-3's own way of cutting text into words: they differ in how many digits make a piece.
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA_WORDS = _QWEN_WORDS.replace(r"\p{N}| ?[", r"\p{N}{1,3}| ?[")

_QWEN_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{% else %}"
    "{{ '<|im_start|>system\nPlease reason step by step, and put your final answer within \\\\boxed{}.<|im_end|>\n' }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{% if not (loop.first and message['role'] == 'system') %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_LLAMA_TEMPLATE = (
    "{{ bos_token }}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n' }}"
    "{{ 'Today Date: 26 Jul 2024\n\n<|eot_id|>' }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer, what `tokenizer_config.json` says beside it, and the number of rows of an embedding for it."""

    tokenizer: Tokenizer
    config: Mapping[str, Any]
    size: int

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`."""
        PreTrainedTokenizerFast(tokenizer_object=self.tokenizer, **self.config).save_pretrained(folder)


def qwen(*, bos_token: str | None = None, extra: Mapping[int, str] | None = None) -> Vocabulary:
    """Return Qwen2.5's kind: byte-level, nothing around a prompt; `extra` are special tokens by their ids."""
    special = {
        151643: "<|endoftext|>",
        151644: "<|im_start|>",
        151645: "<|im_end|>",
        **{151646 + i: f"<|reserved_{i}|>" for i in range(5)},
        **(extra or {}),
    }
    tokenizer = _byte_level(_QWEN_WORDS, pinned={"+": 10, "-": 12}, size=151643)
    tokenizer.normalizer = normalizers.NFC()
    _add_special(tokenizer, special)
    return Vocabulary(
        tokenizer,
        {
            "bos_token": bos_token,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "chat_template": _QWEN_TEMPLATE,
        },
        size=151936,
    )


def llama() -> Vocabulary:
    """Return Llama 3.1's kind: byte-level, up to three digits a piece, a BOS token before a prompt."""
    special = {
        128000: "<|begin_of_text|>",
        128001: "<|end_of_text|>",
        **{128002 + i: f"<|reserved_special_token_{i}|>" for i in range(4)},
        128006: "<|start_header_id|>",
        128007: "<|end_header_id|>",
        128008: "<|eom_id|>",
        128009: "<|eot_id|>",
    }
    tokenizer = _byte_level(_LLAMA_WORDS, pinned={"+": 10, "-": 12}, size=128000)
    _add_special(tokenizer, special)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A",
                pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                special_tokens=[("<|begin_of_text|>", 128000)],
            ),
        ]
    )
    return Vocabulary(
        tokenizer,
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": _LLAMA_TEMPLATE},
        size=128256,
    )


def mistral() -> Vocabulary:
    """Return Mistral 7B's kind: SentencePiece's, with bytes for what it does not know and a BOS token."""
    special = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pre = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    # Words are learnt one by one; a whole line as one piece would be learnt by heart.
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    words, merges = _learnt(learner, ())
    merges = [*merges, ("▁", "+"), ("▁", "-"), ("к", "и"), ("▁", "ки")]
    pinned = {token: id_ for id_, token in enumerate([*special, *bytes_])}
    pinned |= {"▁-": 387, "▁+": 648, "▁ки": 12902}
    vocabulary = _placed([*words, "▁", "+", "-", "к", "и", "ки"], pinned, 32000)
    tokenizer = Tokenizer(
        models.BPE(vocabulary, list(dict.fromkeys(merges)), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return Vocabulary(tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, size=32000)


def _byte_level(words: str, *, pinned: Mapping[str, int], size: int) -> Tokenizer:
    pre = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre
    learnt, merges = _learnt(learner, pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(_placed(learnt, pinned, size), merges))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _learnt(tokenizer: Tokenizer, alphabet: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return pieces and merges, as learnt from `TEXT`."""
    trainer = trainers.BpeTrainer(vocab_size=TRAINED_TOKENS, initial_alphabet=list(alphabet), show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    vocabulary = tokenizer.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return pieces, [(left, right) for left, right in merges]


def _placed(pieces: Sequence[str], pinned: Mapping[str, int], size: int) -> dict[str, int]:
    """Return a vocabulary of `size`: pinned ones at their ids, the others where there is room, and fillers."""
    taken = set(pinned.values())
    free = (id_ for id_ in range(size) if id_ not in taken)
    vocabulary = dict(pinned)
    for piece in dict.fromkeys(pieces):
        if piece not in vocabulary:
            vocabulary[piece] = next(free)
    return vocabulary | {f"<filler {id_}>": id_ for id_ in free}


def _add_special(tokenizer: Tokenizer, special: Mapping[int, str]) -> None:
    """Add tokens whose ids follow the vocabulary without a gap."""
    for id_ in sorted(special):
        tokenizer.add_special_tokens([AddedToken(special[id_], special=True, normalized=False)])
        assert tokenizer.token_to_id(special[id_]) == id_
