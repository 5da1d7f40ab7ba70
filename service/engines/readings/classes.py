"""The classes that a model sees at the last token: classification, which reads the prefix cache."""

from reward_models.protocol import Answer
from service.engines.failures import unusable
from service.engines.fleet import Fleet
from service.engines.readings.pooling import numbers, pooled
from service.engines.readings.reading import Ready
from service.search.ports import Bill


async def read_classes(engine: Fleet, ready: Ready, bill: Bill) -> Answer:
    """Read one row of probabilities: one class through a sigmoid, more than one through a softmax."""
    data = await pooled(engine, ready, bill, task="classify", use_activation=True)
    try:
        return Answer(rows=(numbers(data),))
    except ValueError as cause:
        raise unusable(engine.title, "did not give a probability for each of its classes") from cause
