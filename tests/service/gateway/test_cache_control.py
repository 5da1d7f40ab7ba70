"""What `Cache-Control` on a request means."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from starlette.datastructures import Headers

from service.errors import InvalidRequest
from service.gateway.cache_control import LONGEST_AGE_S, CacheWish, cache_wish


def wish(*fields: str, pragma: str | None = None) -> CacheWish:
    """What a request says with these fields."""
    raw = [(b"cache-control", field.encode("latin-1")) for field in fields]
    if pragma is not None:
        raw.append((b"pragma", pragma.encode("latin-1")))
    return cache_wish(Headers(raw=raw))


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("no-cache", CacheWish("renew")),
        ("no-store", CacheWish("none")),
        ("max-age=60", CacheWish("use", 60)),
        ("max-age=0", CacheWish("renew")),
        ("No-Cache", CacheWish("renew")),
        ("MAX-AGE=007", CacheWish("use", 7)),
        ('max-age="60"', CacheWish("use", 60)),
        ("max-age = 60", CacheWish("use", 60)),
        (" , no-store ,, no-cache", CacheWish("none")),
        ("no-cache, max-age=60", CacheWish("renew")),
        ("max-age=60, max-age=5", CacheWish("use", 5)),
        ("max-age=99999999999999999999", CacheWish("use", LONGEST_AGE_S)),
        (f"max-age={'9' * 5000}", CacheWish("use", LONGEST_AGE_S)),
        ('no-cache="authorization"', CacheWish("renew")),
        ("no-transform", CacheWish()),
        ("stale-if-error=60, private, flavour=sweet", CacheWish()),
        ('flavour="sweet, no-store"', CacheWish()),
        ('flavour="a\\", no-store"', CacheWish()),
        ("flavour=\xe9t\xe9, no-store", CacheWish("none")),
        ("", CacheWish()),
    ],
)
def test_directives_mean_what_the_rfc_says(field: str, meant: CacheWish) -> None:
    """In any case and with any spaces; what is not known changes nothing."""
    assert wish(field) == meant


def test_repeated_header_is_one_list() -> None:
    """As HTTP has it."""
    assert wish("max-age=60", "no-store") == CacheWish("none")


@pytest.mark.parametrize(
    "field",
    [
        "max-age",
        "max-age=",
        "max-age=-1",
        "max-age=1.5",
        "max-age=soon",
        "max-age=\xb2",
        "max-age=1, max-age=x",
        "no-store, max-age=x",
        "max-stale",
        "max-stale=5",
        "min-fresh=5",
        "Only-If-Cached",
        "no-cache no-store",
        'flavour="sweet',
    ],
)
def test_what_cannot_be_obeyed_is_refused(field: str) -> None:
    """The refusal says what is served."""
    with pytest.raises(InvalidRequest) as caught:
        wish(field)
    assert "no-cache, no-store, max-age" in caught.value.hint
    assert caught.value.param == "Cache-Control"


def test_pragma_counts_where_there_is_nothing_else() -> None:
    """`Pragma: no-cache` is what clients of HTTP/1.0 say; `Cache-Control` overrules it."""
    assert wish(pragma="No-Cache") == CacheWish("renew")
    assert wish(pragma="something") == CacheWish()
    assert wish("max-age=5", pragma="no-cache") == CacheWish("use", 5)


@given(some.text(some.characters(codec="latin-1", exclude_characters="\r\n"), max_size=60))
def test_no_header_is_a_crash(field: str) -> None:
    """Whatever is sent is understood or refused."""
    try:
        found = wish(field)
    except InvalidRequest:
        return
    assert found.memory in ("use", "renew", "none")


def test_long_header_is_read_in_one_go() -> None:
    """Spaces cost no more than their number, even where nothing follows that fits: this would take hours otherwise."""
    with pytest.raises(InvalidRequest):
        wish(f"a{' ' * 200_000}b")
