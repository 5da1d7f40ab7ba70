"""Going on with a search that has ended: what it wrote, scored and paid is there from the start."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from service.errors import InvalidRequest
from service.search.request import SearchRequest
from service.search.scoring import Prefix, prefixes
from service.search.trace import Begun, Grown, Judged, Record, Told, Wished
from strategies.protocol import Ended, Path, Paused, Sample, Scored, Step

SAME = ("model", "messages", "prompt", "chat_template_kwargs", "sampling", "seed", "answer", "constraint")
"""What must not differ between a search and its continuation: it decides what the policy writes, and how it is read."""


@dataclass(slots=True)
class Writing:
    """What one stream wrote; `paused` and `ended` are `None` where it was stopped on the way.

    `finish_reason` is the engine's: it may have come to its end while it was being stopped. `temperature` and
    `max_steps` are what the strategy asked for: what was decoded greedily is no sample.
    """

    temperature: float | None = None
    max_steps: int | None = None
    text: str = ""
    token_ids: tuple[int, ...] = ()
    finish_reason: str | None = None
    steps: list[str] = field(default_factory=list)
    paused: Paused | None = None
    ended: Ended | None = None

    def check(self, sample: Sample) -> None:
        """Raise `InvalidRequest` where this cannot stand for `sample`."""
        if self.temperature != sample.temperature:
            raise InvalidRequest(
                "The search that is continued sampled at another temperature: its candidates cannot be used.",
                hint="Go on with a strategy that samples as that one did: greedy decoding is no sample.",
                param="mull.strategy",
            )
        if sample.max_steps is not None and self.max_steps != sample.max_steps:
            raise InvalidRequest(
                "The search that is continued wrote on where this one would pause: its candidates cannot be used.",
                hint="Go on from it with a strategy that samples whole solutions.",
                param="mull.strategy",
            )

    def is_over(self, max_tokens: int) -> bool:
        """Whether nothing can be added: the policy stopped by itself, or a cap of `max_tokens` was reached."""
        return self.finish_reason == "stop" or len(self.token_ids) >= max_tokens


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier run of the same search: its candidates, its scores, and its bills."""

    writings: dict[Path, Writing] = field(default_factory=dict)
    scores: dict[Prefix, float] = field(default_factory=dict)
    bills: tuple[Grown | Judged, ...] = ()


NOTHING = Past()


def past_of(trace: Sequence[Record], request: SearchRequest) -> Past:
    """Return what `request` can go on from; raises `InvalidRequest` where it asks something else than the trace did."""
    writings: dict[Path, Writing] = {}
    scores: dict[Prefix, float] = {}
    bills: list[Grown | Judged] = []
    for record in trace:
        match record:
            case Begun(before, _, _):
                _check(before, request)
            case Wished(_, Sample(node, temperature, max_steps)):
                writing = writings.setdefault(node, Writing())
                writing.temperature, writing.max_steps = temperature, max_steps
            case Grown(_, node, text, token_ids, finish_reason):
                writing = writings.setdefault(node, Writing())
                writing.text += text
                writing.token_ids += token_ids
                writing.finish_reason = finish_reason
                bills.append(replace(record, at=0.0, past=True))
            case Judged():
                bills.append(replace(record, at=0.0, past=True))
            case Told(_, Step(node, _, text)):
                writings.setdefault(node, Writing()).steps.append(text)
            case Told(_, Paused() as paused):
                writings[paused.node].paused = paused
            case Told(_, Ended() as ended):
                writings[ended.node].ended = ended
            case Told(_, Scored(node, first, values)):
                inherited = [step for depth in range(1, len(node)) for step in writings[node[:depth]].steps]
                steps = [*inherited, *writings[node].steps[: first + len(values)]]
                scores.update(zip(prefixes(steps, len(inherited) + first), values, strict=True))
            case _:
                pass
    return Past(writings, scores, tuple(bills))


def _check(before: SearchRequest, now: SearchRequest) -> None:
    for field_name in SAME:
        if getattr(before, field_name) != getattr(now, field_name):
            raise InvalidRequest(
                f"The trace is of a search with another {field_name}.",
                hint="Only strategy, score, samples and budget may differ from the search that is continued.",
                param=field_name,
            )
    if before.score.source != now.score.source:
        raise InvalidRequest(
            f"The trace has scores from {before.score.source}, asked for are those of {now.score.source}.",
            hint="Use the same score.source.",
            param="mull.score.source",
        )
