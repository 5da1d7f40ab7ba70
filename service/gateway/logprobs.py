"""The log-probabilities of a choice's tokens, in the shapes that OpenAI gives them for chats and for completions."""

from pydantic import BaseModel

from service.search.request import CandidateResult, TokenLogprob


class TopLogprob(BaseModel, frozen=True):
    """One of the most probable tokens at a place; `bytes` are its text's in UTF-8."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(TopLogprob, frozen=True):
    """One token of a choice, and the most probable ones at its place, which need not hold it."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel, frozen=True):
    """The tokens of a chat's choice, in order, without the one that ended it."""

    content: list[ChatTokenLogprob]
    refusal: None = None


class TextLogprobs(BaseModel, frozen=True):
    """The tokens of a completion's choice, in order, without the one that ended it.

    `text_offset` counts characters from the beginning of the choice; `top_logprobs` holds the token itself beside as
    many most probable ones as were asked for. Tokens of equal text are one entry.
    """

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


def chat_logprobs(choice: CandidateResult) -> ChatLogprobs | None:
    """Return the log-probabilities of a chat's choice, if they were asked for."""
    if choice.logprobs is None:
        return None
    return ChatLogprobs(content=[_chat_token(token) for token in choice.logprobs])


def text_logprobs(choice: CandidateResult) -> TextLogprobs | None:
    """Return the log-probabilities of a completion's choice, if they were asked for."""
    if choice.logprobs is None:
        return None
    return TextLogprobs(
        tokens=[token.token for token in choice.logprobs],
        token_logprobs=[token.logprob for token in choice.logprobs],
        top_logprobs=[{token.token: token.logprob} | dict(token.top) for token in choice.logprobs],
        text_offset=[token.offset for token in choice.logprobs],
    )


def _chat_token(token: TokenLogprob) -> ChatTokenLogprob:
    top = [TopLogprob(token=text, logprob=logprob, bytes=_bytes(text)) for text, logprob in token.top]
    return ChatTokenLogprob(token=token.token, logprob=token.logprob, bytes=_bytes(token.token), top_logprobs=top)


def _bytes(text: str) -> list[int]:
    return list(text.encode("utf-8", "replace"))
