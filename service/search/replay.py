"""A search played again from its trace: no engine is asked, and the result must be the same."""

from collections.abc import Sequence

from service.errors import InvalidRequest, QuestionTooLong
from service.search.request import SearchRequest, SearchResult
from service.search.result import result_of
from service.search.trace import Begun, Grown, Judged, Record, Stopped, Told, Wished
from service.search.usage import Counter
from strategies.protocol import Action, Path, Refused


def replay(trace: Sequence[Record]) -> SearchResult:
    """Tell the strategy what `trace` says that it was told, and return what it has to show in the end.

    Raises `InvalidRequest` where the strategy wishes for something else than it did when the trace was written: it has
    been changed since. `seconds` is the recorded time until the search stopped.
    """
    begun, stopped = trace[0], trace[-1]
    if not isinstance(begun, Begun) or not isinstance(stopped, Stopped):
        raise ValueError("a trace begins with Begun and ends with Stopped")
    request = begun.request
    strategy = request.strategy.build(request.score, returned=request.n, seed=request.seed)
    counter = Counter(begun.prompt)
    unscorable: dict[Path, QuestionTooLong] = {}
    wishes = list(strategy.begin())
    for number, record in enumerate(trace, 1):
        match record:
            case Wished(_, action):
                _same(action, wishes.pop(0) if wishes else None, number, request)
            case Told(_, event):
                if isinstance(event, Refused) and event.because == "length":
                    unscorable[event.node] = QuestionTooLong("The steps did not fit the reward model's context.")
                wishes.extend(strategy.on(event))
            case Grown(_, node, bill=bill):
                counter.grown(node, bill)
            case Judged(_, bill, remembered=remembered):
                counter.judged(bill, remembered)
            case _:
                pass
    if wishes:
        _same(None, wishes[0], len(trace), request)
    return result_of(
        request,
        strategy,
        counter,
        stopped_by=stopped.reason,
        seconds=stopped.at,
        unscorable=unscorable,
        records=trace,
    )


def _same(recorded: Action | None, wished: Action | None, number: int, request: SearchRequest) -> None:
    if recorded != wished:
        raise InvalidRequest(
            f"Line {number} of the trace: {request.strategy.name} asked for {recorded}, and now for {wished}.",
            hint="The strategy has changed since the trace was written: search again.",
        )
