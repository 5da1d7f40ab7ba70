import pytest

from service.cli.options import gateway_url
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
