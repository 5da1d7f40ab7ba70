"""What no well-behaved client sends, over real sockets: always a 4xx in our words, and a gateway that lives on."""

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterable, Iterator

import pytest
from fake_workers import settings
from served import LIMIT_S, Answer, gateway, send

from service.gateway import http1

CHAT = b'{"model": "tiny", "messages": [{"role": "user", "content": "1+1?"}]}'
WEBSOCKET = (
    b"GET /v1/chat/completions HTTP/1.1\r\nHost: mull\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MB = 1_000_000
LIMIT = settings().gateway.max_body_bytes


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A gateway with its usual patience."""
    with gateway(settings()) as port:
        yield port


@pytest.fixture(scope="module")
def hurried() -> Iterator[int]:
    """A gateway whose patience is short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http1, "HEADER_S", 0.5)
        patch.setattr(http1, "REST_S", 0.5)
        with gateway(settings(gateway={"body_timeout_s": 0.5})) as port:
            yield port


def head(*lines: str, length: int | None = None, kind: str = "application/json", path: str = "") -> bytes:
    """A POST's request line and headers."""
    given = [f"POST {path or '/v1/chat/completions'} HTTP/1.1", "Host: mull", f"Content-Type: {kind}", *lines]
    if length is not None:
        given.append(f"Content-Length: {length}")
    return "\r\n".join([*given, "", ""]).encode("latin-1")


def post(body: bytes, *lines: str, kind: str = "application/json") -> list[bytes]:
    """A whole request."""
    return [head(*lines, length=len(body), kind=kind), body]


def asked(content: str) -> bytes:
    """A chat whose question is given as it stands in JSON."""
    return CHAT.replace(b'"1+1?"', content.encode("utf-8", "surrogatepass"))


def with_field(field: str) -> bytes:
    """A good chat with one more field."""
    return CHAT[:-1] + b", " + field.encode() + b"}"


def endless(first: bytes, piece: bytes, megabytes: int) -> Iterable[bytes]:
    """Much more than a gateway may keep."""
    yield first
    piece *= MB // len(piece)
    for _ in range(megabytes):
        yield piece


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> list[bytes]:
    """A body in chunks."""
    return [head("Transfer-Encoding: chunked"), *(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks), end]


# What it is, the bytes, and the status.
NASTY: list[tuple[str, Iterable[bytes], int]] = [
    ("nothing", post(b""), 400),
    ("blanks", post(b" \r\n\t "), 400),
    ("a null byte", post(b"\x00"), 400),
    ("a null byte after the end", post(CHAT + b"\x00"), 400),
    ("null bytes instead of text", post(b"\x00" * 1000), 400),
    ("a null byte in a key", post(with_field('"a\\u0000b": 1')), 400),
    ("truncated", post(CHAT[:-3]), 400),
    ("two bodies", post(CHAT + CHAT), 400),
    ("single quotes", post(CHAT.replace(b'"', b"'")), 400),
    ("a comment", post(b"// hi\n" + CHAT), 400),
    ("a comma too many", post(CHAT[:-1] + b",}"), 400),
    ("lists in lists", post(b"[" * 100_000), 400),
    ("lists in lists, closed", post(with_field('"stop": ' + "[" * 50_000 + "]" * 50_000)), 400),
    ("objects in objects", post(b'{"mull":' * 50_000 + b"1" + b"}" * 50_000), 400),
    ("a key twice", post(CHAT[:-1] + b', "model": "bare"}'), 400),
    ("a key twice, far inside", post(with_field('"mull": {"budget": {"parallel": 1, "parallel": 2}}')), 400),
    ("NaN", post(with_field('"temperature": NaN')), 400),
    ("Infinity", post(with_field('"temperature": Infinity')), 400),
    ("minus Infinity", post(with_field('"top_p": -Infinity')), 400),
    ("a number beyond floats", post(with_field('"top_p": 1e999')), 400),
    ("ten thousand digits", post(with_field('"seed": ' + "9" * 10_000)), 400),
    ("ten thousand digits after the point", post(with_field('"temperature": 9.' + "9" * 10_000)), 400),
    ("an exponent of ten thousand digits", post(with_field('"top_p": 1e' + "9" * 10_000)), 400),
    ("half a surrogate", post(asked('"\\ud800"')), 400),
    ("the other half", post(asked('"\\udc00 1+1"')), 400),
    ("half a surrogate in a key", post(with_field('"\\ud800": 1')), 400),
    ("half a surrogate, encoded", post(asked('"\ud800"')), 400),
    ("an overlong encoding", post(CHAT.replace(b"1+1?", b"\xc0\xaf")), 400),
    ("beyond Unicode", post(CHAT.replace(b"1+1?", b"\xf4\x90\x80\x80")), 400),
    ("only marks and blanks", post(asked('"\u2003\u00a0\u3000"')), 400),
    ("latin-1", post(asked('"½"').decode().encode("latin-1")), 400),
    ("UTF-16", post(CHAT.decode().encode("utf-16")), 400),
    ("UTF-16, said so", post(CHAT.decode().encode("utf-16"), kind="application/json; charset=utf-16"), 400),
    ("UTF-32", post(CHAT.decode().encode("utf-32-le")), 400),
    ("UTF-8 with a byte order mark", post(b"\xef\xbb\xbf" + CHAT), 400),
    ("gzip", post(gzip.compress(CHAT), "Content-Encoding: gzip"), 415),
    ("gzip, unsaid", post(gzip.compress(CHAT)), 400),
    ("deflate of a gigabyte", post(zlib.compress(b" " * 50 * MB), "Content-Encoding: deflate"), 415),
    ("a coding nobody knows", post(CHAT, "Content-Encoding: \xff" + "x" * 5000), 415),
    ("no content type", [head(kind="", length=len(CHAT)), CHAT], 415),
    ("a form", post(b"model=tiny", kind="application/x-www-form-urlencoded"), 415),
    ("a huge key", post(with_field('"' + "k" * 900_000 + '": 1')), 400),
    ("a huge key twice", post(with_field('"' + "k" * 400_000 + '": 1, "' + "k" * 400_000 + '": 1')), 400),
    ("a hundred thousand messages", post(b'{"model":"tiny","messages":[' + b"{}," * 100_000 + b"{}]}"), 400),
    ("a hundred thousand keys", post(b"{" + b",".join(b'"%d":1' % i for i in range(80_000)) + b"}"), 400),
    ("four hundred thousand numbers", post(with_field('"stop": [' + "1," * 400_000 + "1]")), 400),
    ("one byte too many", post(CHAT + b" " * (LIMIT + 1 - len(CHAT))), 413),
    ("ten megabytes", post(b" " * 10 * MB), 413),
    ("chunks of ten megabytes", chunked(*[b" " * MB] * 10), 413),
    ("chunks without end", endless(head("Transfer-Encoding: chunked"), b"a\r\n          \r\n", 60), 413),
    ("a terabyte announced", endless(head(length=10**12), b" ", 40), 413),
    ("a terabyte asked for first", [head("Expect: 100-continue", length=10**12)], 413),
    ("ten megabytes of a form", post(b"x" * 10 * MB, kind="text/plain"), 415),
    ("chunks that lie", [head("Transfer-Encoding: chunked"), b"zz\r\n" + CHAT], 400),
    ("a length that is no number", [head("Content-Length: many"), CHAT], 400),
    ("a negative length", [head(length=-5), CHAT], 400),
    ("two lengths", [head("Content-Length: 5", length=len(CHAT)), CHAT], 400),
    ("a length and chunks", [head("Transfer-Encoding: chunked", length=len(CHAT)), CHAT], 400),
    ("a length too short", [head(length=len(CHAT) - 5), CHAT], 400),
    ("a length of forty digits", [head("Content-Length: " + "9" * 40), CHAT], 400),
    ("a huge header", [head("X-Big: " + "x" * 100_000, length=0)], 431),
    ("ten thousand headers", [head(*[f"X-{i}: {i}" for i in range(10_000)], length=0)], 431),
    ("a header without end", endless(head(length=0)[:-2] + b"X-Big: ", b"x", 20), 431),
    ("a huge path", [b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: mull\r\n\r\n"], 431),
    ("a header with a null byte", [head("X-Null: a\x00b", length=0)], 400),
    ("a header folded", [head("X-Folded: a\r\n b", length=len(CHAT)), b"{}"], 400),
    ("TLS", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50], 400),
    ("HTTP/2 at once", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], 400),
    ("noise", [b"\xff\xfe\xfd\r\n\r\n"], 400),
    ("a method of our own", [b"GUESS /healthz HTTP/1.1\r\nHost: mull\r\n\r\n"], 400),
    ("a path that is no path", [b"GET \xff\xfe HTTP/1.1\r\nHost: mull\r\n\r\n"], 400),
    ("a path with half a letter", [b"GET /%ff%fe HTTP/1.1\r\nHost: mull\r\n\r\n"], 404),
    ("a path upwards", [b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: mull\r\n\r\n"], 404),
    ("a websocket", [WEBSOCKET], 405),
]


def assert_refused(answer: Answer, status: int) -> None:
    assert answer.status == status, answer.body[:500]
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.error) - {"trace_id"} == {"message", "type", "param", "code"}
    assert answer.error["type"] == "invalid_request_error"
    assert len(answer.body) < 2000


def assert_healthy(port: int) -> None:
    answer = send(port, post(CHAT, "Connection: close"))
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(("pieces", "status"), [n[1:] for n in NASTY], ids=[n[0] for n in NASTY])
def test_nasty_request_is_refused(port: int, pieces: Iterable[bytes], status: int) -> None:
    """It gets a 4xx in OpenAI's shape, short whatever was sent, and the next request is answered."""
    assert_refused(send(port, pieces), status)
    assert_healthy(port)


SLOW = [
    ("body", [head(length=len(CHAT)), *(bytes([byte]) for byte in CHAT)]),
    ("chunks", [head("Transfer-Encoding: chunked"), *[b"1\r\n \r\n"] * 100]),
    ("silence", [head(length=len(CHAT)), CHAT[:10]]),
    ("headers", [bytes([byte]) for byte in head(length=0)]),
    ("half a request line", [b"POST /v1/ch"]),
]


@pytest.mark.parametrize("pieces", [s[1] for s in SLOW], ids=[s[0] for s in SLOW])
def test_slow_sender_is_given_up(hurried: int, pieces: list[bytes]) -> None:
    """Who sends a byte now and then gets a 408 when the time is over, not when the last byte has come."""
    answer = send(hurried, pieces, pause_s=0.1)
    assert_refused(answer, 408)
    assert answer.headers["connection"] == "close"


def test_rest_of_a_refused_body_is_not_awaited(hurried: int) -> None:
    """Who is refused before the body is read, and goes on sending it slowly, is cut off."""
    with socket.create_connection(("127.0.0.1", hurried), timeout=LIMIT_S) as connection:
        connection.sendall(head(length=MB, kind="text/plain"))
        assert connection.recv(100).startswith(b"HTTP/1.1 415")
        deadline = time.monotonic() + LIMIT_S
        with pytest.raises(OSError):  # noqa: PT011 (which one depends on the moment)
            while time.monotonic() < deadline:
                connection.sendall(b" ")
                time.sleep(0.05)


def test_connection_lives_on_after_a_refusal(port: int) -> None:
    """A body that was read and refused costs no new connection."""
    broken = b"".join(post(b"[]"))
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        for _ in range(3):
            connection.sendall(broken)
            told = connection.recv(4096)
            assert told.startswith(b"HTTP/1.1 400")
            assert b"connection: close" not in told


def test_odd_text_is_answered(port: int) -> None:
    """Any text that is text is a question: emoji, null characters, right-to-left marks, a billion laughs' worth."""
    for text in ("\u0000½\U0001f600", "\u202e1+1\u202c", "e\u0301" * 300, "\ufeff1", '\\"{{7*7}}<script>%s%n$(id)'):
        body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": text}]}, ensure_ascii=False)
        assert send(port, post(body.encode())).status == 200


def test_requests_sent_at_once_are_answered_in_turn(port: int) -> None:
    """A long body, and behind it the beginning of the next request, is not taken for long headers."""
    first = b"".join(post(CHAT + b" " * 200_000))
    second = b"".join(post(b"[]", "Connection: close"))
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        connection.sendall(first + second[:30])
        connection.sendall(second[30:])
        told = b""
        while piece := connection.recv(65_536):
            told += piece
    assert told.startswith(b"HTTP/1.1 200")
    assert told.count(b"HTTP/1.1 400") == 1
