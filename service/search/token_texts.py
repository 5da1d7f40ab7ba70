"""Which tokens make a text, and where each of them begins."""

from collections.abc import Sequence

from service.search.ports import TokenLogprobs
from service.search.request import TokenLogprob


def tokens_of(text: str, told: Sequence[TokenLogprobs], *, most: int) -> tuple[TokenLogprob, ...]:
    """Return the tokens of `text`, which `told` begins with: what was written beyond its end is left out.

    That is the token that ends a candidate, a stop string, or what came in the same piece as the answer. `most` is how
    many most probable tokens are to be shown with each; the engine lists the token itself beside them.
    """
    shown = []
    offset = 0
    for entry in told:
        begin, end = _place(text, offset, entry.token)
        if begin >= len(text):
            break
        top = entry.listed[:most]
        shown.append(TokenLogprob(token=entry.token, offset=begin, logprob=entry.sampled, top=top))
        offset = end
    return tuple(shown)


def _place(text: str, offset: int, token: str) -> tuple[int, int]:
    """Return where a token begins and ends that comes at `offset` or after white space.

    Alone, many tokenizers give a token without the space before it, and a special token or half a character is not in
    the text as such: it takes up nothing.
    """
    rest = text[offset:]
    if rest.startswith(token) or (token and token.startswith(rest)):
        return offset, offset + min(len(token), len(rest))
    bare = rest.lstrip()
    begin = len(text) - len(bare)
    if token and bare.startswith(token):
        return begin, begin + len(token)
    return offset, offset
