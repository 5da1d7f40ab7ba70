"""The tokens at which an engine can end a step by itself."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.engines.tokenizer import EngineTokenizer
from service.search.steps import StepSplitter
from service.settings import StepForm
from service.settle import settled

# Beside these a vocabulary is likely to write a separator in another way: glued to what stands before it, or to the
# white space behind it; or, as GPT-2's, in two tokens where a word follows.
BEFORE = (*"aZ7.,:;?!)]}$*`", " ", "。")
AFTER = (*"aZ7#*-\\$(", "\n", "\t", *(" " * width for width in (1, 2, 3, 4, 7, 8)))


@dataclass(frozen=True, slots=True)
class StepStops:
    """`texts` is what each token that completes a step adds to the text, by token id.

    `exact` says that a step is not known to end in any other way. It still may, where a model writes a separator in
    other tokens than its tokenizer would.
    """

    texts: Mapping[int, str]
    exact: bool


async def find_stops(form: StepForm, tokenizer: EngineTokenizer) -> StepStops:
    """Try how a vocabulary writes the separators of `form`, alone and beside other characters.

    A separator that begins a longer one ends nothing by itself, nor does a heading: both show in the text that
    follows. Raises `EngineError` and its children.
    """
    ends = _Ends(form, tokenizer)
    alone = await settled([ends.find(separator) for separator in form.separators])
    whole = {ends.texts.get(token) for token in alone if token is not None} == set(form.separators)
    beside = [
        (text, token)
        for separator, token in zip(form.separators, alone, strict=True)
        for text in (*(before + separator for before in BEFORE), *(separator + after for after in AFTER))
    ]
    found = await settled([ends.find(text) for text, _ in beside])
    unmerged = all(token == expected for token, (_, expected) in zip(found, beside, strict=True))
    return StepStops(ends.texts, exact=whole and unmerged and not form.headings)


class _Ends:
    """Finds the tokens that complete a step."""

    def __init__(self, form: StepForm, tokenizer: EngineTokenizer) -> None:
        self.texts: dict[int, str] = {}
        self._form = form.model_copy(update={"thinking": "steps", "end_at_answer": False})
        self._tokenizer = tokenizer

    async def find(self, text: str) -> int | None:
        """Return the token with which the first step in `text` ends; `None` if no single token ends it."""
        ids = await self._tokenizer.text(text)
        before = ""
        for length, token in enumerate(ids, 1):
            if token in self.texts:
                return token
            # Decoded after what stands before it: alone, some tokenizers give a token another text. A word-level
            # vocabulary has one token for all that it does not know, whose text is no separator.
            after = await self._tokenizer.decode(ids[:length])
            added = after[len(before) :] if after.startswith(before) else ""
            if self._ends_step(added):
                self.texts[token] = added
                return token
            before = after
        return None

    def _ends_step(self, text: str) -> bool:
        return bool(StepSplitter(self._form).feed("x" + text))
