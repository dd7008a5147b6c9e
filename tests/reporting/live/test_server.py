"""The server answers those who know its token with the page, and everybody else with nothing."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.reporting.live import LiveServer
from mlx_selfdebug.reporting.live.server import HEADERS
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import make_attempt

from ...support.serving import serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    path = tmp_path_factory.mktemp("server") / "run"
    with Run(path) as run:
        run.add_attempt(make_attempt())
    (path / "report.html").write_text("<!doctype html><title>the report</title>")
    with serving(path) as server:
        yield server


def ask(
    server: LiveServer, path: str, *, host: str | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """The status, the headers and the body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", f"127.0.0.1:{server.server_port}" if host is None else host)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


NOTHING = (404, {"Content-Length": "0", "Connection": "close"}, b"")


def test_the_page_is_there_for_those_who_know_the_token(server: LiveServer) -> None:
    status, headers, body = ask(server, f"/{server.token}/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<h1" in body
    assert HEADERS.items() <= headers.items()


def test_the_address_of_the_page_holds_the_token_and_no_other_host(server: LiveServer) -> None:
    assert server.url == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert len(server.token) >= 32


def test_every_server_has_a_token_of_its_own(server: LiveServer) -> None:
    with LiveServer(server.watcher.path) as other:
        assert other.token != server.token


@pytest.mark.parametrize(
    "path",
    ["/", "/report.html", "/changes?since=0", "//", "/x/", "/x/changes", "/favicon.ico", "/?token={token}", "/x/{token}/", "/{token}",
     "/{half}/", "/{token}x/", "/{token}/nothing", "/{token}/../{token}/", "/{token}/report.html/", "/{token}/run.db",
     "/{token}/changes?since=-1", "/{token}/changes?since=x", "/{token}/changes?since=99999999999999999999", "*", "http://x/{token}/"],
)  # fmt: skip
def test_anything_else_is_answered_with_nothing(server: LiveServer, path: str) -> None:
    filled = path.format(token=server.token, half=server.token[:16])
    assert ask(server, filled) == NOTHING


@given(
    st.text(st.characters(codec="latin-1", exclude_characters=" \r\n\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"), max_size=60)
)
def test_no_other_text_opens_the_page(server: LiveServer, text: str) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        request = f"GET /{text}/ HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] in (b"404", b"400")
    assert body == b""
    assert b"selfdebug" not in head
    assert b"Python" not in head


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:80", "", "[::1]:80", "0.0.0.0:80"]
)
def test_a_page_from_elsewhere_whose_name_leads_here_gets_nothing(server: LiveServer, host: str) -> None:
    assert ask(server, f"/{server.token}/", host=host) == NOTHING


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1:1"])
def test_a_tunnel_may_have_another_port(server: LiveServer, host: str) -> None:
    assert ask(server, f"/{server.token}/", host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "NONSENSE"])
def test_nothing_but_reading_is_answered(server: LiveServer, method: str) -> None:
    status, headers, body = ask(server, f"/{server.token}/", method=method)
    assert status == 501
    assert body == b""
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("name", ["", "changes", "report.html"])
def test_no_other_site_may_read_an_answer(server: LiveServer, name: str) -> None:
    _, headers, _ = ask(server, f"/{server.token}/{name}")
    assert not [key for key in headers if key.lower().startswith("access-control")]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Server" not in headers


def test_the_policy_of_the_page_allows_its_own_script_and_style_and_its_own_server(server: LiveServer) -> None:
    _, headers, body = ask(server, f"/{server.token}/")
    policy = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
    page = body.decode()
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        [inline] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert policy[rule] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert not re.search(r"""\s(?:style|on\w+)=["']""", page)


def test_what_has_changed_is_sent_as_json(server: LiveServer) -> None:
    status, headers, body = ask(server, f"/{server.token}/changes?since=0")
    changes = json.loads(body)
    assert status == 200
    assert headers["Content-Type"].startswith("application/json")
    assert set(changes) == {"version", "title", "parts"}
    later = json.loads(ask(server, f"/{server.token}/changes?since={changes['version'] + 1000}")[2])
    assert later["parts"] == {}


def test_the_report_is_served_with_its_own_policy_and_is_missed_if_there_is_none(
    server: LiveServer, tmp_path: Path
) -> None:
    _, headers, body = ask(server, f"/{server.token}/report.html")
    assert b"the report" in body
    assert "connect-src" not in headers["Content-Security-Policy"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    with serving(tmp_path / "run") as other:
        assert ask(other, f"/{other.token}/report.html") == NOTHING


def test_several_requests_may_come_over_one_connection(server: LiveServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    for _ in range(3):
        connection.request("GET", f"/{server.token}/changes")
        assert connection.getresponse().read()
    connection.close()


def test_a_request_that_is_no_request_ends_in_nothing_printed(
    server: LiveServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for text in (b"\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 100, b"GET /" + b"x" * 70_000, b""):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
            connection.sendall(text)
    assert ask(server, f"/{server.token}/")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_port_in_use_is_one_clear_line(server: LiveServer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"port {server.server_port} of 127.0.0.1 cannot be used: ") as caught:
        LiveServer(tmp_path, server.server_port)
    assert "--port" in str(caught.value.hint)


def test_a_token_can_stand_in_an_address_as_it_is(server: LiveServer) -> None:
    assert set(server.token) <= set(string.ascii_letters + string.digits + "-_")
