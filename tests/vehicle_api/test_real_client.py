"""The client's own network against the server's own views, over HTTP: pairing, syncs, a new key, pay."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetclient.identity import Identity, process_mark
from fleetclient.network import Network, ServerRefused
from fleetclient.pairing import PairingRefused, pair
from fleetclient.wire import AgentInfo, Capacity, SyncRequest, encode_sync_request

pytestmark = pytest.mark.django_db(transaction=True)


def sync_of(identity: Identity, *, skew: float | None = None, boot: str = "", replicas: int = 0) -> bytes:
    return encode_sync_request(
        SyncRequest(
            agent=AgentInfo(
                version="0.1.0",
                runtime="test",
                comparison_class="cpu",
                instance=identity.instance,
                boot=boot or process_mark(),
                walls=("seccomp",),
            ),
            eligible=True,
            reasons=(),
            clock_skew_seconds=skew,
            capacity=Capacity(replicas=replicas, memory_bytes=10_000, opset_max=23),
            models=(),
            held=(),
            commitments=(),
            returned=(),
        )
    )


class Owner:
    """Reads what the car shows and answers in the portal's stead, after so many polls of the car."""

    def __init__(self, *, picks_right: bool) -> None:
        self.picks_right = picks_right
        self.owner_id = 0

    def answer(self, _seconds: float) -> None:
        from django.utils import timezone

        from tests.engine.factories import make_owner
        from workunits.models import DevicePairing
        from workunits.pipeline import enrol

        pairing = DevicePairing.objects.filter(state="pending").first()
        if pairing is None:
            return
        wrong = next(number for number in pairing.match_choices if number != pairing.match_number)
        number = pairing.match_number if self.picks_right else wrong
        self.owner_id = make_owner().pk
        try:
            enrol.approve_pairing(
                user_code=pairing.user_code, match_number=number, owner_id=self.owner_id, now=timezone.now()
            )
        except enrol.MatchNumberWrong:
            assert not self.picks_right


@pytest.fixture
def connect(live_server) -> Iterator[Callable[[Identity], Network]]:
    """Make networks whose connections end with the test; the server's threads would keep the database open."""
    made: list[Network] = []

    def make(identity: Identity) -> Network:
        made.append(Network(origin=live_server.url, identity=identity))
        return made[-1]

    yield make
    for network in made:
        network.close()


@pytest.fixture
def car(tmp_path: Path, connect) -> tuple[Identity, Network]:
    identity = Identity(tmp_path / "identity")
    network = connect(identity)
    pair(network=network, identity=identity, name="Blue", out=io.StringIO(), sleep=Owner(picks_right=True).answer)
    return identity, network


def test_a_car_is_paired_syncs_renews_its_key_and_asks_for_its_pay(car, tmp_path: Path, connect) -> None:
    from workunits.models import Vehicle, VehiclePresence

    identity, network = car
    answer = network.sync(sync_of(identity))
    assert (answer.vehicle, answer.rules, answer.messages) == (identity.vehicle_id, None, ())
    assert network.clock_skew_seconds == pytest.approx(0, abs=2)
    old = identity.public_key
    network.rotate_key()
    assert bytes(Vehicle.objects.get().public_key) == identity.public_key != old
    network.sync(sync_of(identity, skew=network.clock_skew_seconds))
    presence = VehiclePresence.objects.get()
    assert (presence.instance, presence.boot_marks) == (identity.instance, [process_mark()])
    assert network.get_account(since=int(time.time()) - 3600).gross_microcredits == 0
    again = Identity(tmp_path / "identity")
    connect(again).sync(sync_of(again))


def test_a_wrong_number_ends_the_pairing_on_the_car_too(tmp_path: Path, connect) -> None:
    from workunits.models import Vehicle

    identity = Identity(tmp_path / "identity")
    network = connect(identity)
    with pytest.raises(PairingRefused, match="access_denied"):
        pair(network=network, identity=identity, name="x", out=io.StringIO(), sleep=Owner(picks_right=False).answer)
    assert (identity.vehicle_id, Vehicle.objects.count()) == (None, 0)


def test_a_copied_installation_is_noticed_and_a_new_key_shuts_it_out(car, tmp_path: Path, connect) -> None:
    import shutil

    identity, network = car
    network.sync(sync_of(identity))
    shutil.copytree(tmp_path / "identity", tmp_path / "copy")
    copy = Identity(tmp_path / "copy")
    copied = connect(copy)
    copied.sync(sync_of(copy, boot="c" * 32))
    answer = network.sync(sync_of(identity))
    assert [message.code for message in answer.messages] == ["clone_suspected"]
    network.rotate_key()
    network.sync(sync_of(identity))
    with pytest.raises(ServerRefused, match="signature_invalid"):
        copied.sync(sync_of(copy, boot="c" * 32))


def test_syncs_and_a_rotation_at_once_all_get_through_in_the_end(car) -> None:
    identity, network = car
    errors: list[Exception] = []

    def sync_often() -> None:
        for _ in range(5):
            try:
                network.sync(sync_of(identity))
            except ServerRefused as refused:
                if refused.problem not in ("sync_conflict", "counter_replayed"):
                    errors.append(refused)

    threads = [threading.Thread(target=sync_often) for _ in range(2)]
    for thread in threads:
        thread.start()
    network.rotate_key()
    for thread in threads:
        thread.join()
    assert errors == []
    network.sync(sync_of(identity))
