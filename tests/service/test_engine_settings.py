"""Where the servers of an engine are said to be."""

import pytest
from pydantic import ValidationError

from service.settings import PolicySettings

ONE, TWO = "http://10.0.0.1:8000", "http://10.0.0.2:8000"


def engine(**options: object) -> PolicySettings:
    return PolicySettings.model_validate({"model": "some/policy", **options})


@pytest.mark.parametrize(
    ("url", "expected"), [(None, []), (ONE, [f"{ONE}/"]), ([ONE], [f"{ONE}/"]), ([ONE, TWO], [f"{ONE}/", f"{TWO}/"])]
)
def test_urls_are_all_there_are(url: object, expected: list[str]) -> None:
    """Whether none, one or a list is given."""
    assert [str(root) for root in engine(url=url).urls] == expected


def test_every_server_has_its_slots() -> None:
    """Two servers take twice as much as one; one that is still to be started takes what one takes."""
    found = [engine(url=url, slots=8).capacity for url in (None, ONE, [ONE, TWO])]
    assert found == [8, 8, 16]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": [ONE, ONE]}, "names a server twice"),
        ({"url": [ONE, ONE + "/"]}, "names a server twice"),
        ({"url": ONE, "replicas": 2}, "leave it out"),
        ({"url": []}, "at least 1"),
        ({"url": "nonsense"}, "valid URL"),
        ({"url": [ONE, "nonsense"]}, "valid URL"),
        ({"replicas": 0}, "greater than or equal to 1"),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, object], words: str) -> None:
    """In one line: not once for a URL and once more for a list of them."""
    with pytest.raises(ValidationError, match=words) as caught:
        engine(**options)
    assert caught.value.error_count() == 1
