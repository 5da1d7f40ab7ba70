import pytest
import typer

from service.cli.options import gateway_url, settings
from service.settings import GatewaySettings


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://127.0.0.1:9000"),
        ("::1", "http://[::1]:9000"),
        ("mull.example", "http://mull.example:9000"),
    ],
)
def test_the_gateways_address_can_be_reached_from_here(host: str, url: str) -> None:
    """Listening everywhere includes this machine; an IPv6 address stands in brackets."""
    assert GatewaySettings(host=host, port=9000).url == url


def test_without_an_option_the_configuration_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a port that the environment overrides; an address that was given is taken as it is."""
    monkeypatch.setenv("MULL_GATEWAY__PORT", "9001")
    assert gateway_url(None) == "http://127.0.0.1:9001"
    assert gateway_url("http://elsewhere") == "http://elsewhere"


def test_parameters_are_read_as_json_or_as_text() -> None:
    """Numbers, truths and null are what they look like, all else is text, an equals sign in it included."""
    given = ["beams=8", "exploration = 0.5", "mode=async", "wide=true", "error=null", "note=a=b", "list=[1]"]
    assert settings(given) == {
        "beams": 8,
        "exploration": 0.5,
        "mode": "async",
        "wide": True,
        "error": None,
        "note": "a=b",
        "list": "[1]",
    }
    assert settings(None) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["beams"], "NAME=VALUE"),
        (["=8"], "NAME=VALUE"),
        (["beams="], "NAME=VALUE"),
        (["beams=8", "beams=9"], "beams is given twice"),
        (["samples=8"], "--samples"),
        (["name=dvts"], "--strategy"),
        (["early_stop=off"], "--early-stop"),
    ],
)
def test_parameters_that_cannot_be_read_are_refused(given: list[str], said: str) -> None:
    """Also those that have an option of their own: there is one way to say it."""
    with pytest.raises(typer.BadParameter, match=said):
        settings(given)
