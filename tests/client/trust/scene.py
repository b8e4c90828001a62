"""A fleet's repository with real keys and real signatures, served over real HTTP by whoever the test wants it to be.

The files are made by the admission service's own code; `served` is what the web tier shows, and a test may put
anything there.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, MetaFile

from fleetclient.clock import boot_seconds
from fleetclient.logs import Log
from fleetclient.netpolicy.options import NetworkOptions
from fleetclient.netpolicy.policy import NetworkPolicy
from fleetclient.trust.clock import TrustClock
from fleetclient.trust.gate import TrustGate
from fleetclient.trust.options import TrustOptions
from fleetclient.trust.tally import Tally
from workunits.trust import names
from workunits.trust.folder import AdmissionFolder, read_bundle
from workunits.trust.keys import load_public, load_signer, make_key
from workunits.trust.log import ADMITTED, REVOKED, follow
from workunits.trust.offline import CarConfig, Holders, first_root, first_targets
from workunits.trust.repository import Lifetimes, Repository
from workunits.trust.staged import Staged

PREFIX = "/api/vehicle/v1/trust/"
PEOPLE = ("alice", "bob", "carol")
FACTS = "f" * 64

# What is served under a name: a whole file, pieces as they come, or the address of a redirect.
Answer = bytes | str | Callable[[], Iterator[bytes]]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Fleet:
    """People with offline keys, an admission service, and a web tier that serves `served`."""

    def __init__(self, folder: Path, *, lifetimes: Lifetimes | None = None, now: datetime | None = None) -> None:
        self.folder = folder
        self.admission = AdmissionFolder(folder / "admission")
        bundle = self.admission.make()
        for name in PEOPLE:
            make_key(folder / f"{name}.pem", name=name, password=None)
        self.served: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.date_shift_seconds = 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.repository = Repository(self.admission, bin_bits=2, lifetimes=lifetimes)
        self.holders = Holders(
            root=[self.public(name) for name in PEOPLE],
            root_threshold=2,
            targets=[self.public(name) for name in PEOPLE],
            targets_threshold=2,
            online=read_bundle(bundle),
        )
        now = now or utc_now()
        self.take(self.signed(first_root(self.holders, now=now)))
        self.take(self.signed(first_targets(self.holders, CarConfig(origins=(self.origin,)), now=now)))
        self.sign(now=now)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # -- people ------------------------------------------------------------------------------------------------

    def public(self, name: str) -> SSlibKey:
        return load_public(self.folder / f"{name}.pub")

    def signer(self, name: str) -> CryptoSigner:
        return load_signer(self.folder / f"{name}.pem")

    def signed(self, staged: Staged, *people: str) -> Staged:
        if self.has_root:
            staged.in_force = self.repository.kept.root
        elif staged.role == names.TARGETS:
            staged.in_force = self.root_staged.metadata
        for name in people or PEOPLE[:2]:
            staged.sign(self.signer(name))
        return staged

    @property
    def has_root(self) -> bool:
        return hasattr(self, "repository") and self.repository.kept.root is not None

    def take(self, staged: Staged) -> None:
        if staged.role == names.ROOT:
            self.root_staged = staged
            self.repository.take_root(staged)
        else:
            self.repository.take_targets(staged)

    # -- the admission service -----------------------------------------------------------------------------------

    def sign(self, entries: Any = (), *, now: datetime | None = None, show: bool = True) -> None:
        self.repository.sign(entries, now=now or utc_now())
        if show:
            self.show()

    def show(self) -> None:
        """Let the web tier serve what is in force; what it served before stays reachable."""
        for name, _, _ in self.repository.kept.names():
            self.served[name] = self.repository.kept.read(name)

    def admit(self, model: bytes, **options: Any) -> tuple[str, int]:
        sha256 = hashlib.sha256(model).hexdigest()
        self.sign([self.entry(ADMITTED, sha256, len(model))], **options)
        return sha256, len(model)

    def revoke(self, sha256: str, size_bytes: int, **options: Any) -> None:
        self.sign([self.entry(REVOKED, sha256, size_bytes)], **options)

    def entry(self, kind: str, sha256: str, size_bytes: int) -> Any:
        stamp = utc_now().isoformat(timespec="seconds")
        head = self.repository.log.head
        return follow(head, kind=kind, sha256=sha256, size_bytes=size_bytes, admitted_at=stamp, facts_sha256=FACTS)

    # -- what somebody with the admission service's keys can do ---------------------------------------------------

    def forge(self, role: str, change: Callable[[Any], None], *, people: tuple[str, ...] = ()) -> str:
        """Serve a changed copy of a role's metadata in force, one version on, and a snapshot and timestamp for it.

        It is signed with the admission service's keys, or with those of some people.
        """
        metadata = copy.deepcopy(self.metadata(role))
        metadata.signed.version += 1
        change(metadata.signed)
        metadata.signatures.clear()
        for signer in [self.signer(name) for name in people] or [self.online(role)]:
            metadata.sign(signer, append=True)
        name = names.file_name(role, metadata.signed.version)
        self.served[name] = metadata.to_bytes()
        if role not in (names.ROOT, names.SNAPSHOT, names.TIMESTAMP):
            self.forge(names.SNAPSHOT, lambda signed: _set_version(signed, role, metadata.signed.version))
        if role == names.SNAPSHOT:
            self.forge(names.TIMESTAMP, lambda signed: _set_snapshot(signed, metadata))
        return name

    def metadata(self, role: str) -> Metadata[Any]:
        kept = self.repository.kept
        top: dict[str, Metadata[Any] | None] = {
            names.ROOT: kept.root,
            names.TARGETS: kept.targets,
            names.MODELS: kept.models,
            names.SNAPSHOT: kept.snapshot,
            names.TIMESTAMP: kept.timestamp,
        }
        return top.get(role) or kept.bin(role)

    def online(self, role: str) -> CryptoSigner:
        number = sum(1 for _ in self.admission.path.glob("public-*.json"))
        kind = role if role in names.ONLINE_ROLES else names.MODELS
        return load_signer(self.admission.keys / f"{kind}-{number}.pem")

    # -- what the web tier can do --------------------------------------------------------------------------------

    def remember(self) -> dict[str, Answer]:
        return dict(self.served)

    def document(self, name: str) -> Any:
        answer = self.served[name]
        assert isinstance(answer, bytes)
        return json.loads(answer)

    def current(self, role: str) -> str:
        """The name of a role's file in force."""
        return next(name for name, known, _ in self.repository.kept.names() if known == role and "root" not in name)

    def bin_of(self, sha256: str) -> str:
        return self.repository.kept.succinct().get_role_for_target(names.model_path(sha256))


class CarGate:
    """A gate with a real child, its log and its meter. `network` are members of `[network]`."""

    def __init__(
        self,
        folder: Path,
        fleet: Fleet,
        *,
        wall: Callable[[], float] = time.time,
        network: dict[str, Any] | None = None,
        meter: Tally | None = None,
        origin: str = "",
        **options: Any,
    ) -> None:
        self.log = io.StringIO()
        self.meter = meter or Tally()
        self.policy = NetworkPolicy(options=NetworkOptions(**(network or {})), folder=folder, meter=self.meter)
        self.gate = TrustGate(
            options=TrustOptions(**options),
            origin=origin or fleet.origin,
            folder=folder / "trust",
            log=Log(level="debug", stream=self.log),
            policy=self.policy,
            clock=TrustClock(wall=wall, elapsed=boot_seconds),
        )

    @property
    def error(self) -> str:
        return self.gate.last_error.partition(":")[0]


def _set_version(snapshot: Any, role: str, version: int) -> None:
    snapshot.meta[f"{role}.json"] = MetaFile(version)


def _set_snapshot(timestamp: Any, snapshot: Metadata[Any]) -> None:
    content = snapshot.to_bytes()
    hashes = {"sha256": hashlib.sha256(content).hexdigest()}
    timestamp.snapshot_meta = MetaFile(snapshot.signed.version, len(content), hashes)


def short_lifetimes(seconds: int) -> Lifetimes:
    return Lifetimes(timestamp=timedelta(seconds=seconds), timestamp_period=timedelta(seconds=seconds / 2))


def _handler(fleet: Fleet) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix(PREFIX)
            fleet.asked.append(name)
            answer = fleet.served.get(name)
            if answer is None:
                self.send_error(404)
                return
            if isinstance(answer, str):
                self.send_response(302)
                self.send_header("Location", answer)
                self.end_headers()
                return
            self.send_response(200)
            if isinstance(answer, bytes):
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                return
            self.end_headers()
            try:
                for piece in answer():
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:
                return  # the car has had enough, which is what is tested

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + fleet.date_shift_seconds)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output readable."""

    return Handler
