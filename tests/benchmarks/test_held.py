"""What `benchmarks.load` calls held: level throughput, level memory, no new handles."""

from benchmarks.held import Moment, held
from benchmarks.parts import Taken

MIB = 2**20


def moments(
    *,
    rates: tuple[int, int, int] = (100, 100, 100),
    memory: tuple[int, int, int] = (200, 200, 200),
    yardstick: tuple[float, float, float] = (0.01, 0.01, 0.01),
) -> list[Moment]:
    """Ten minutes, read every ten seconds; of each third tokens per second, MiB, and the yardstick's seconds."""
    found, tokens = [], 0
    for number in range(61):
        third = min(2, number // 20)
        parts = {"gateway": Taken(memory[third] * MIB, 50, 0.1 * number)}
        found.append(Moment(10.0 * number, tokens, 2 * tokens, parts, yardstick[third]))
        tokens += 10 * rates[third]
    return found


ANSWERS = [(float(second), 3.0) for second in range(600)]


def test_a_level_run_is_held() -> None:
    """Nothing is broken, and what one answer takes is told."""
    found = held(ANSWERS, moments())
    assert found.broken == []
    assert found.figures["last_third_over_first"] == {"tokens": 1.0, "answers": 1.0, "machine": 1.0}
    assert found.figures["by_minute"]["answers_per_s"] == [1.0] * 10
    assert found.figures["per_answer"] == {"policy_tokens": 100.0, "reward_tokens": 200.0, "cpu_ms": {"gateway": 10.0}}


def test_a_run_that_slows_down_is_not_held() -> None:
    """A last third of nine tenths is less than noise may make of it."""
    found = held(ANSWERS, moments(rates=(100, 95, 90)))
    assert found.figures["last_third_over_first"]["tokens"] == 0.9
    assert found.broken == ["the last third wrote 0.900 times the tokens of the first"]


def test_a_machine_that_slows_down_is_told() -> None:
    """By the same work, which takes longer."""
    found = held(ANSWERS, moments(yardstick=(0.010, 0.010, 0.0125)))
    assert found.figures["last_third_over_first"]["machine"] == 0.8


def test_memory_that_grows_is_not_held() -> None:
    """What was taken before the middle third, while caches filled, does not count; what is taken after it does."""
    assert held(ANSWERS, moments(memory=(100, 200, 201))).broken == []
    assert held(ANSWERS, moments(memory=(200, 200, 220))).broken == ["gateway grew from 200 to 220 MiB"]
