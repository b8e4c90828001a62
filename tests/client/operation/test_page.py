"""The status page: what it shows, and that no other site can read it or press its buttons."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetclient.control import NOTHING_ASKED, ControlState
from fleetclient.logs import Log
from fleetclient.page import StatusPage
from fleetclient.page.guard import refuse_request
from fleetclient.page.view import render_page
from tests.client.operation.sample import make_status

BERLIN = ZoneInfo("Europe/Berlin")


class Page:
    """A page that shows `document`, spoken to by raw HTTP."""

    def __init__(self, folder: Path, *, has_metrics: bool = False) -> None:
        self.document = make_status()
        self.control = ControlState(folder)
        self.page = StatusPage(
            port=0,
            status=lambda: self.document,
            control=self.control,
            log=Log(),
            zone=BERLIN,
            has_metrics=has_metrics,
            currency="EUR",
        )
        assert self.page.start()

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.page.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"Host": f"127.0.0.1:{self.page.port}"} | named).items():
            connection.putheader(name, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body.encode() or None)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, dict(answer.getheaders()), text

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.page.port}"

    def token(self) -> str:
        _, _, text = self.ask("GET", "/")
        match = re.search(r'name="token" value="([^"]+)"', text)
        assert match is not None
        return match[1]

    def press(self, path: str, **headers: str) -> int:
        return self.ask("POST", path, f"token={self.token()}", **({"Origin": self.origin} | headers))[0]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    shown = Page(tmp_path, has_metrics=True)
    yield shown
    shown.page.stop()


def test_the_page_says_what_the_car_does_and_when_it_may_start(page: Page) -> None:
    status, headers, text = page.ask("GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "Waiting: battery 58 % - starts at 70 % (about 14:20)." in text
    assert "The battery is at 58 %; work starts at 70 %. <small>until 14:20</small>" in text
    assert "3 h 12 min" in text
    assert "181.4 MB" in text
    assert "unknown" in text
    assert "1 h 6 min ago, teslamate" in text


def test_what_comes_from_outside_is_never_markup(page: Page) -> None:
    page.document = make_status(
        car="<script>a</script>", sentence="<img src=x>", messages=[{"at": 1.0, "text": "<b>", "level": "", "code": ""}]
    )
    _, _, text = page.ask("GET", "/")
    assert "<script>a" not in text
    assert "<img" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;a&lt;/script&gt;" in text


def test_the_page_is_never_kept_framed_or_allowed_to_load_anything_from_elsewhere(page: Page) -> None:
    for path in ("/", "/status.json", "/page.js", "/page.css", "/icon.svg", "/healthz", "/nothing"):
        _, headers, text = page.ask("GET", path)
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert not {name for name in headers if name.lower().startswith("access-control")}
        assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)


def test_status_and_health_are_there_for_programs(page: Page) -> None:
    assert json.loads(page.ask("GET", "/status.json")[2]) == page.document
    assert page.ask("GET", "/healthz")[0] == 200
    page.document = make_status(state="attention")
    status, _, text = page.ask("GET", "/healthz")
    assert (status, json.loads(text)["status"]) == (503, "attention")


def test_metrics_are_numbers_and_leave_out_what_nobody_knows(page: Page) -> None:
    _, _, text = page.ask("GET", "/metrics")
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples["fleetclient_units_completed_total"] == "17"
    assert samples['fleetclient_gate_open{gate="hours"}'] == "0"
    assert samples['fleetclient_signal{signal="soc_pct"}'] == "58.0"
    assert not [name for name in samples if "pack_temp_c" in name]
    assert all(float(value) is not None for value in samples.values())
    assert text.count("# TYPE fleetclient_gate_open ") == 1


def test_metrics_are_off_unless_asked_for(tmp_path: Path) -> None:
    quiet = Page(tmp_path)
    assert quiet.ask("GET", "/metrics")[0] == 404
    quiet.page.stop()


@pytest.mark.parametrize("path", ["/pause-hour", "/pause-morning", "/pause", "/stop-now"])
def test_a_button_pauses_the_car_and_another_resumes_it(page: Page, path: str) -> None:
    assert page.press(path) == 303
    assert page.control.read().paused_until_unix is not None
    page.document = make_status(pause={"until": 1.0, "forever": False, "finishing": False})
    assert page.press("/resume") == 303
    assert page.control.read() == NOTHING_ASKED


def test_finish_asks_for_no_more_work(page: Page) -> None:
    assert page.press("/finish") == 303
    assert page.control.read().is_finishing is True


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8723", "127.0.0.1", "localhost:1", "127.0.0.1.nip.io", ""]
)
def test_a_name_that_was_pointed_at_this_computer_gets_nothing(page: Page, host: str) -> None:
    for path in ("/", "/status.json", "/metrics", "/page.js"):
        status, _, text = page.ask("GET", path, Host=host)
        assert (status, "Waiting" in text, "token" in text) == (403, False, False)
    token = page.token()
    status, _, _ = page.ask("POST", "/pause", f"token={token}", Host=host, Origin=f"http://{host}")
    assert (status, page.control.read()) == (403, NOTHING_ASKED)


def test_a_request_with_two_hosts_gets_nothing(page: Page) -> None:
    with socket.create_connection(("127.0.0.1", page.page.port), timeout=20) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{page.page.port}\r\nHost: evil.example\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.0 403")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
    ],
)
def test_a_form_of_another_site_changes_nothing_even_with_the_token(page: Page, headers: dict[str, str]) -> None:
    assert page.press("/pause", **headers) == 403
    assert page.control.read() == NOTHING_ASKED


def test_a_post_without_an_origin_changes_nothing(page: Page) -> None:
    token = page.token()
    assert page.ask("POST", "/pause", f"token={token}")[0] == 403
    assert page.control.read() == NOTHING_ASKED


@pytest.mark.parametrize("body", ["", "token=", "token=wrong", "other=1", "token=" + "x" * 5000])
def test_a_wrong_token_changes_nothing(page: Page, body: str) -> None:
    assert page.ask("POST", "/pause", body, Origin=page.origin)[0] == 403
    assert page.control.read() == NOTHING_ASKED


def test_a_script_of_another_site_cannot_read_though_a_link_may_lead_here(page: Page) -> None:
    assert page.ask("GET", "/status.json", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    assert page.ask("GET", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200


def test_the_token_differs_from_start_to_start(tmp_path: Path, page: Page) -> None:
    other = Page(tmp_path)
    assert other.token() != page.token()
    other.page.stop()


def test_a_port_that_is_taken_turns_the_page_off_and_nothing_else(tmp_path: Path, page: Page) -> None:
    second = StatusPage(
        port=page.page.port, status=make_status, control=page.control, log=Log(level="error"), zone=BERLIN
    )
    assert second.start() is False
    second.stop()
    assert page.ask("GET", "/healthz")[0] == 200


def test_half_a_request_and_noise_do_not_end_the_page(page: Page) -> None:
    for noise in (b"\x16\x03\x01\x00", b"GET /\r\n", b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", page.page.port), timeout=20) as connection:
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1000)
    assert page.ask("GET", "/healthz")[0] == 200


def test_only_this_computer_can_connect(page: Page) -> None:
    listener = page.page._listener
    assert listener is not None
    assert listener.getsockname()[0] == "127.0.0.1"


def test_an_agent_that_nobody_looks_at_has_not_loaded_the_http_server() -> None:
    code = (
        "import sys, pathlib, tempfile\n"
        "from fleetclient.page import StatusPage\n"
        "from fleetclient.control import ControlState\n"
        "from fleetclient.logs import Log\n"
        "page = StatusPage(port=0, status=dict, control=ControlState(pathlib.Path(tempfile.mkdtemp())), log=Log())\n"
        "assert page.start()\n"
        "print([name for name in ('http.server', 'html', 'numpy', 'argparse') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(host=st.text(max_size=30), origin=st.text(max_size=30))
def test_no_other_host_or_origin_passes(host: str, origin: str) -> None:
    ours = {f"{name}:8723" for name in ("127.0.0.1", "localhost", "[::1]")}
    refused = refuse_request("POST", {"Host": host, "Origin": origin}, port=8723)
    passes = host.lower() in ours and origin.lower() in {f"http://{each}" for each in ours}
    assert (refused == "") is passes


@pytest.mark.parametrize(
    "state", ["working", "ready", "waiting", "paused", "offline", "attention", "suspended", "stopped"]
)
def test_every_state_has_a_word_beside_its_colour(state: str) -> None:
    text = render_page(make_status(state=state), token="t", zone=BERLIN, currency="")
    match = re.search(rf'class="state {state}"><span aria-hidden="true">(.)[^<]*</span> ([A-Z][a-z ]+)<', text)
    assert match is not None
