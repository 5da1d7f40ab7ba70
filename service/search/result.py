"""What a search has to show when it stops: choices, candidates, votes and what they cost, as plain data."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from service.errors import NoAnswer, QuestionTooLong
from service.search.ports import TokenLogprobs
from service.search.request import CandidateResult, SearchRequest, SearchResult, SearchUsage, VoteResult
from service.search.token_texts import tokens_of
from service.search.trace import Grown, Judged, Record
from service.search.usage import Counter
from strategies.adaptive_consistency import DECIDED_BETA
from strategies.protocol import Candidate, Path, Strategy, Vote


def result_of(
    request: SearchRequest,
    strategy: Strategy,
    counter: Counter,
    *,
    stopped_by: str,
    seconds: float,
    unscorable: Mapping[Path, QuestionTooLong],
    logprobs: Callable[[Path], Sequence[TokenLogprobs]] | None = None,
    records: Iterable[Record] = (),
) -> SearchResult:
    """Return the best of what `strategy` has found, and the bill; `logprobs` tells those of a node's tokens.

    Those of the `records` that are `past` were paid by earlier runs.

    Raises `NoAnswer` where nothing had been written, or what is in `unscorable` where that left no candidate a score.
    """
    ranking, votes = strategy.ranking(), strategy.votes()
    if unscorable and all(candidate.score is None for candidate in ranking):
        raise next(iter(unscorable.values()))
    chosen = _distinct(ranking, request.n)
    if not chosen:
        raise no_answer(stopped_by, request)
    return SearchResult(
        choices=tuple(_chosen(c, counter, request, logprobs) for c in chosen),
        candidates=tuple(_shown(c, counter) for c in ranking),
        votes=tuple(vote_result(v) for v in votes),
        confidence=_confidence(chosen[0], votes),
        stopped_by=stopped_by,
        usage=counter.usage({c.node for c in chosen}),
        warnings=_warnings(request, stopped_by, len(chosen), len(unscorable)),
        seconds=seconds,
        continued=_paid_before(counter.question, records),
    )


def no_answer(stopped_by: str, request: SearchRequest) -> NoAnswer:
    """Return the error of a search that has nothing to show."""
    budget = request.budget.model_dump(exclude_none=True)
    return NoAnswer(
        f"The search was stopped by {stopped_by} before a candidate had finished its first step.",
        hint=f"Raise the budget (asked for: {budget or 'the default deadline'}).",
        param="mull.budget",
    )


def _paid_before(question: int, records: Iterable[Record]) -> SearchUsage | None:
    counter, any_past = Counter(question), False
    for record in records:
        match record:
            case Grown(_, node, bill=bill, past=True):
                counter.grown(node, bill)
            case Judged(_, bill, past=True, remembered=remembered):
                counter.judged(bill, remembered)
            case _:
                continue
        any_past = True
    return counter.usage(set()) if any_past else None


def _warnings(request: SearchRequest, stopped_by: str, found: int, unscorable: int) -> tuple[str, ...]:
    warnings = []
    if stopped_by == DECIDED_BETA:
        warnings.append("The vote was stopped because it was probably decided: the full vote may have gone elsewhere.")
    if found < request.n:
        warnings.append(f"n={request.n} distinct answers were asked for, the candidates gave {found}.")
    if unscorable:
        warnings.append(f"{unscorable} candidates are too long for the reward model and have no score.")
    return tuple(warnings)


def _distinct(ranking: Sequence[Candidate], n: int) -> list[Candidate]:
    """Return the first `n` candidates that say something different: by answer, or by text where there is none."""
    seen: dict[str | Path, Candidate] = {}
    for candidate in ranking:
        seen.setdefault(candidate.answer.key if candidate.answer else candidate.node, candidate)
    return list(seen.values())[:n]


def _confidence(chosen: Candidate, votes: Sequence[Vote]) -> float | None:
    if chosen.answer is None:
        return None
    return next((vote.share for vote in votes if vote.answer.key == chosen.answer.key), None)


def _chosen(
    candidate: Candidate,
    counter: Counter,
    request: SearchRequest,
    logprobs: Callable[[Path], Sequence[TokenLogprobs]] | None,
) -> CandidateResult:
    shown = _shown(candidate, counter)
    if request.logprobs is None or logprobs is None:
        return shown
    tokens = tokens_of(candidate.text, logprobs(candidate.node), most=request.logprobs)
    return shown.model_copy(update={"logprobs": tokens})


def _shown(candidate: Candidate, counter: Counter) -> CandidateResult:
    return CandidateResult(
        text=candidate.text,
        answer=candidate.answer.text if candidate.answer else None,
        key=candidate.answer.key if candidate.answer else None,
        scores=candidate.scores,
        score=candidate.score,
        finished=candidate.ended == "stop",
        finish_reason=candidate.ended,
        tokens=counter.written(candidate.node),
        multiplicity=candidate.multiplicity,
    )


def vote_result(vote: Vote) -> VoteResult:
    """Return a vote as it is shown."""
    return VoteResult(
        answer=vote.answer.text,
        key=vote.answer.key,
        weight=vote.weight,
        share=vote.share,
        candidates=vote.candidates,
    )
