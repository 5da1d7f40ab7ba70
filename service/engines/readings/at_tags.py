"""The classes that a model sees at each step's tag: token-wise pooling, of which vLLM keeps the rows of the tags."""

from typing import Any

from reward_models.protocol import Answer
from service.engines.failures import unusable
from service.engines.fleet import Fleet
from service.engines.readings.pooling import numbers, pooled
from service.engines.readings.reading import Ready
from service.search.ports import Bill


async def read_at_tags(engine: Fleet, ready: Ready, bill: Bill) -> Answer:
    """Read one row of probabilities per tag of the request, in order; all of them must be the same token.

    vLLM answers for that token wherever it comes up, within the text of a step as well.
    """
    data = await pooled(engine, ready, bill, task="token_classify", use_activation=True)
    tag = ready.prompt[ready.tags[0]]
    places = [place for place, token in enumerate(ready.prompt) if token == tag]
    try:
        rows = dict(zip(places, _rows(data), strict=True))
    except ValueError as cause:
        raise unusable(
            engine.title,
            f"did not give one row of numbers for each of the {len(places)} step tags {tag} in its prompt",
            hint="""Its step tag must be the family's: vLLM takes --pooler-config '{"step_tag_id": ID}'.""",
        ) from cause
    return Answer(rows=tuple(rows[place] for place in ready.tags))


def _rows(data: Any) -> list[tuple[float, ...]]:
    if not isinstance(data, list):
        raise ValueError("no rows")
    return [numbers(row) for row in data]
