"""The scores as the authors' own code has them: whole texts through transformers, and plain torch for the heads.

Nothing here knows how Mull asks. Every reference takes a question and its steps (of an outcome model: the solution),
and tells the scores, and of how many tokens each of them is the score.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

QWEN_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class Scored:
    """One score in [0, 1] for each step, and the number of tokens up to where it is read."""

    scores: list[float]
    tokens: list[int]


Reference = Callable[[str, Sequence[str]], Scored]


def math_shepherd(folder: Path) -> Reference:
    """As on https://huggingface.co/peiyi9979/math-shepherd-mistral-7b-prm: one text, `ки` after each step."""
    tokenizer, model = _tokenizer(folder), _causal(folder)
    candidates = tokenizer.encode("+ -")[1:]
    (tag,) = tokenizer.encode("ки")[1:]
    assert (candidates, tag) == ([648, 387], 12902)

    def score(question: str, steps: Sequence[str]) -> Scored:
        text, ends = question, []
        for index, step in enumerate(steps):
            text += ("\n" if index else "") + (f"{' ' if not index else ''}{step}" if step else "") + " ки"
            ends.append(len(text))
        encoded = tokenizer(text, return_offsets_mapping=True)
        places = [i for i, (_, end) in enumerate(encoded["offset_mapping"]) if end in ends]
        assert [encoded["input_ids"][place] for place in places] == [tag] * len(steps)
        return Scored(_share_of_first(model, encoded["input_ids"], places, candidates), [place + 1 for place in places])

    return score


def rlhflow(folder: Path) -> Reference:
    """As in RLHF-Reward-Modeling's math-rm/prm_evaluate.py: a chat, read at the third token from its end."""
    tokenizer, model = _tokenizer(folder), _causal(folder)
    candidates = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]

    def score(question: str, steps: Sequence[str]) -> Scored:
        conversation, places, ids = [], [], []
        for index, step in enumerate(steps):
            said = f"{question} {step}" if index == 0 else step
            conversation += [{"role": "user", "content": said}, {"role": "assistant", "content": "+"}]
            ids = _chat(tokenizer, conversation)
            places.append(len(ids) - 3)
        return Scored(_share_of_first(model, ids, places, candidates), [place + 1 for place in places])

    return score


def qwen_prm(folder: Path) -> Reference:
    """As on https://huggingface.co/Qwen/Qwen2.5-Math-PRM-7B: `<extra_0>` after each step of the assistant's turn."""
    tokenizer = _tokenizer(folder)
    body, head = _qwen_body(folder), _two_layers(folder)
    (separator,) = tokenizer.encode("<extra_0>")

    def score(question: str, steps: Sequence[str]) -> Scored:
        messages = [{"role": "system", "content": QWEN_SYSTEM}, {"role": "user", "content": question}]
        begin = len(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        messages.append({"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"})
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
        ends = []
        for step in steps:
            begin += len(step) + len("<extra_0>")
            ends.append(begin)
        encoded = tokenizer(text, return_offsets_mapping=True)
        places = [i for i, (_, end) in enumerate(encoded["offset_mapping"]) if end in ends]
        assert [encoded["input_ids"][place] for place in places] == [separator] * len(steps)
        with torch.no_grad():
            logits = head(body(torch.tensor([encoded["input_ids"]])).last_hidden_state[0])
        return Scored(logits.softmax(dim=-1)[places, 1].tolist(), [place + 1 for place in places])

    return score


def qwen_rm(folder: Path) -> Reference:
    """As on https://huggingface.co/Qwen/Qwen2.5-Math-RM-72B, whose value we put through a sigmoid."""
    tokenizer = _tokenizer(folder)
    body, head = _qwen_body(folder), _two_layers(folder)

    def score(question: str, steps: Sequence[str]) -> Scored:
        (solution,) = steps
        ids = _chat(
            tokenizer,
            [
                {"role": "system", "content": QWEN_SYSTEM},
                {"role": "user", "content": question},
                {"role": "assistant", "content": solution},
            ],
        )
        with torch.no_grad():
            value = head(body(torch.tensor([ids])).last_hidden_state[0, -1])
        return Scored(torch.sigmoid(value).tolist(), [len(ids)])

    return score


def skywork(folder: Path) -> Reference:
    """As in skywork-o1-prm-inference's `prepare_input`, of the checkpoint as it is published.

    To them each line is a step: of a step of several lines the last one counts.
    """
    tokenizer = _tokenizer(folder)
    weights = load_file(folder / "model.safetensors")
    body = _qwen_body(folder)
    newline = tokenizer.encode("\n")[-1]

    def score(question: str, steps: Sequence[str]) -> Scored:
        ids = tokenizer.encode(tokenizer.bos_token + question + "\n")
        lines = "\n".join(steps).split("\n")
        ends = []
        for line in lines:
            ids += (tokenizer.encode(line) if line else []) + [newline]
            ends.append(len(ids))
        last_lines, count = [], 0
        for step in steps:
            count += step.count("\n") + 1
            last_lines.append(count - 1)
        tokens = [ends[line] for line in last_lines]
        with torch.no_grad():
            hidden = body(torch.tensor([ids])).last_hidden_state[0]
            rewards = torch.nn.functional.linear(
                hidden, weights["v_head.summary.weight"], weights["v_head.summary.bias"]
            )
        return Scored(torch.sigmoid(rewards)[[end - 1 for end in tokens], 0].tolist(), tokens)

    return score


def classifier(folder: Path) -> Reference:
    """As transformers has it: `*ForSequenceClassification` over the chat; of two classes the second is the good one."""
    tokenizer = _tokenizer(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def score(question: str, steps: Sequence[str]) -> Scored:
        (solution,) = steps
        ids = _chat(tokenizer, [{"role": "user", "content": question}, {"role": "assistant", "content": solution}])
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        return Scored([logits.softmax(dim=-1)[1].item()], [len(ids)])

    return score


def _tokenizer(folder: Path) -> transformers.PreTrainedTokenizerBase:
    return transformers.AutoTokenizer.from_pretrained(folder)


def _causal(folder: Path) -> torch.nn.Module:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _share_of_first(
    model: torch.nn.Module, ids: Sequence[int], places: Sequence[int], candidates: Sequence[int]
) -> list[float]:
    """The authors compute the logits of all tokens at all places; here only where they look."""
    with torch.no_grad():
        logits = model(torch.tensor([ids]), logits_to_keep=torch.tensor(places)).logits[0]
    return logits[:, candidates].softmax(dim=-1)[:, 0].tolist()


def _chat(tokenizer: transformers.PreTrainedTokenizerBase, messages: Sequence[dict[str, str]]) -> list[int]:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    return tokenizer.encode(text, add_special_tokens=False)


def _qwen_body(folder: Path) -> torch.nn.Module:
    weights = load_file(folder / "model.safetensors")
    body = transformers.Qwen2Model(transformers.Qwen2Config.from_pretrained(folder)).eval()
    body.load_state_dict({k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")})
    return body


def _two_layers(folder: Path) -> torch.nn.Module:
    """The head of `modeling_qwen2_rm.py`: a linear layer, ReLU, a linear layer."""
    weights = load_file(folder / "model.safetensors")
    first, second = weights["score.0.weight"], weights["score.2.weight"]
    head = torch.nn.Sequential(torch.nn.Linear(*first.T.shape), torch.nn.ReLU(), torch.nn.Linear(*second.T.shape))
    head.load_state_dict({k.removeprefix("score."): v for k, v in weights.items() if k.startswith("score.")})
    return head
