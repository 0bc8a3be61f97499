"""Client: a run from another program, by the address of its page; the same records as the page and the runtime use."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import msgspec

from camlink.display.desk.records import Entry, Form, Run, Start
from camlink.display.web.action import PATH, Answer, Fault, Me
from camlink.errors import InputError, PeerLost
from camlink.runtime.events import Adjust, Cancel, Pause, Scale, Tag
from camlink.runtime.status import RunStatus

PATIENCE_S: Final = 10.0
START_S: Final = 70.0
LARGEST_ANSWER_BYTES: Final = 64 << 20
LETTER: Final = "page.json"


class Letter(msgspec.Struct, frozen=True):
    """Where the page of a run is, and a token for it; kept in the run's folder for its user alone."""

    url: str
    token: str
    fingerprint: str = ""


def connect(where: str | Path, token: str = "", *, fingerprint: str = "", timeout_s: float = PATIENCE_S) -> Client:
    """A client of the run whose page is at `where`; without a token it may look, if it is of the run's user.

    `where` may be the folder of a run of this user, which holds address and token while the page is up, or the folder
    of all runs when a desk is up for it (`camlink serve`). A page that speaks TLS is known by the `fingerprint` that
    its command printed (SHA-256), or by an authority of this machine. Raises InputError for what is neither.
    """
    text = str(where)
    if "://" in text:
        return Client(text, token, fingerprint, timeout_s=timeout_s)
    path = Path(text) / "log" / LETTER
    if not path.exists() and (Path(text) / LETTER).exists():
        path = Path(text) / LETTER
    try:
        letter = msgspec.json.decode(path.read_bytes(), type=Letter)
    except OSError:
        raise InputError(f"{text}: no run has its page up there now (no {path}); give the folder of a run, or the "
                         "address of its page") from None
    except msgspec.MsgspecError as error:
        raise InputError(f"{path}: {error}") from None
    return Client(letter.url, token or letter.token, fingerprint or letter.fingerprint, timeout_s=timeout_s)


class Client:
    """One run, seen and steered through its page; or a desk, which starts runs and leads to their pages.

    Every method raises InputError for what the run refuses, PeerLost when it does not answer in time.
    """

    def __init__(self, url: str, token: str = "", fingerprint: str = "", *, timeout_s: float = PATIENCE_S) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"'{url[:80]}' is no address of a page, such as http://127.0.0.1:8000/")
        if fingerprint and parts.scheme == "http":
            raise InputError(f"'{url[:80]}': a page without TLS has no fingerprint; leave it out, or use https")
        self._way = parts.path.removesuffix("/login").rstrip("/") + "/"
        self.url = f"{parts.scheme}://{parts.netloc}{self._way}"
        self._token, self._fingerprint = token, fingerprint
        self._line = (_Pinned(parts.hostname, parts.port, fingerprint, timeout_s) if parts.scheme == "https" else
                      http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s))
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def me(self) -> Me:
        """Who we are for the run, and what we may do."""
        return msgspec.json.decode(self._ask("GET", "/api/me"), type=Me)

    def status(self) -> RunStatus | None:
        """Everything that a person may see of the run; None before it began."""
        return msgspec.json.decode(self._ask("GET", "/api/status"), type=RunStatus | None)

    def schema(self) -> dict[str, Any]:
        """The OpenAPI document of the page."""
        return msgspec.json.decode(self._ask("GET", "/api/openapi.json"), type=dict[str, Any])

    def stop(self, *, force: bool = False) -> None:
        """End the run; what arrived is kept."""
        self._act("stop", Cancel(force=force))

    def pause(self) -> None:
        """Let the sources that can give no more frames."""
        self._act("pause", Pause(paused=True))

    def resume(self) -> None:
        """Let them go on."""
        self._act("pause", Pause(paused=False))

    def scale(self, operator: str, replicas: int) -> None:
        """Let replicas of a transform join or leave until there are so many."""
        self._act("scale", Scale(operator=operator, replicas=replicas))

    def set(self, operator: str, **parameters: Any) -> None:
        """Let an operator work with these parameters from its next block on."""
        self._act("set", Adjust(operator=operator, parameters=parameters))

    def tag(self, text: str) -> None:
        """Keep a word about the scan with its record."""
        self._act("tag", Tag(text=text))

    def invite(self, role: str = "viewer", who: str = "") -> str:
        """An address that lets its holder in with a role, as `who` if that is said; only the owner may."""
        return str(self._act("invite", {"role": role, "who": who}).answer)

    def workflows(self) -> list[Entry]:
        """What a desk may start."""
        return msgspec.json.decode(self._ask("GET", "/api/workflows"), type=list[Entry])

    def form(self, workflow: str) -> Form:
        """What may be chosen for a workflow of a desk, and what stands in the way of its start."""
        return msgspec.json.decode(self._ask("GET", f"/api/workflow/{quote(workflow, safe='')}"), type=Form)

    def start(self, workflow: str, parameters: Mapping[str, Any] | None = None) -> Client:
        """Let a desk start a workflow with other values, {"operator.parameter": value}; gives a client of the run."""
        started = self._act("start", Start(workflow, dict(parameters or {})), START_S).answer
        return self.run(started["run"])

    def run(self, name: str) -> Client:
        """A client of a run of this desk."""
        return Client(f"{self.url}runs/{name}/", self._token, self._fingerprint, timeout_s=self._timeout_s)

    def runs(self) -> list[Run]:
        """The runs in the folder of a desk, those that began last first."""
        return msgspec.json.decode(self._ask("GET", "/api/runs"), type=list[Run])

    def report(self) -> dict[str, Any]:
        """The report of a run of a desk, once it has ended."""
        return msgspec.json.decode(self._ask("GET", "/report.json"), type=dict[str, Any])

    def close(self) -> None:
        """Close the connection."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _act(self, name: str, arguments: Any, timeout_s: float = 0.0) -> Answer:
        asked = self._ask("POST", PATH + name, msgspec.json.encode(arguments), timeout_s)
        return msgspec.json.decode(asked, type=Answer)

    def _ask(self, method: str, path: str, body: bytes | None = None, timeout_s: float = 0.0) -> bytes:
        path = path.lstrip("/")
        self._line.timeout = max(timeout_s, self._timeout_s)
        try:
            self._line.request(method, self._way + path, body, self._headers)
            answer = self._line.getresponse()
            data = answer.read(LARGEST_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise PeerLost(f"{self.url}: {error or type(error).__name__}; is the page of the run still up?") from None
        finally:
            self._line.close()  # a page closes lines that ask nothing for a while
        if answer.status != 200:
            raise InputError(f"{self.url}{path}: {_words(data) or answer.reason}")
        return data


class _Pinned(http.client.HTTPSConnection):
    """A connection by TLS that knows its page by a fingerprint, and says nothing to any other."""

    def __init__(self, host: str, port: int | None, fingerprint: str, timeout_s: float) -> None:
        context = ssl.create_default_context()
        if fingerprint:  # a certificate of its own has no authority
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._fingerprint = fingerprint.replace(":", "").lower()
        super().__init__(host, port, timeout=timeout_s, context=context)

    def connect(self) -> None:
        """Dial, and look at the certificate before the first word."""
        super().connect()
        found = hashlib.sha256(self.sock.getpeercert(binary_form=True) or b"").hexdigest()
        if self._fingerprint and not hmac.compare_digest(found, self._fingerprint):
            self.close()
            raise ssl.SSLError(f"its certificate has the fingerprint {found}, not the one that was given")


def _words(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=Fault).error
    except msgspec.MsgspecError:
        return data[:300].decode("utf8", "replace").strip()
