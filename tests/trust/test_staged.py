"""A staged change is one file that people carry from machine to machine; whatever is done to it on the way shows."""

from __future__ import annotations

import json

import pytest
from securesystemslib.signer import CryptoSigner

from tests.trust.fleet_keys import NOW
from workunits.trust.describe import describe_staged
from workunits.trust.keys import KeyUnusable, is_encrypted, load_public, load_signer, make_key
from workunits.trust.offline import Release, next_root, next_targets
from workunits.trust.staged import Staged, StagedUnreadable, ThresholdMissed, WrongSigner


@pytest.fixture
def release(keys):
    repository = keys.started()
    wanted = Release(channel="stable", file_name="c-1.2-py3-none-any.whl", content=b"wheel", ring_percent=5.0)
    staged = next_targets(repository.kept.targets.signed, now=NOW, release=wanted, channels={})
    staged.in_force = repository.kept.root
    return staged


def test_people_sign_one_after_the_other_on_machines_of_their_own(keys, release):
    carried = release.to_bytes()
    for name, count in (("alice", 1), ("carol", 2)):
        elsewhere = Staged.from_bytes(carried)
        keys.sign(elsewhere, name)
        carried = elsewhere.to_bytes()
        assert bool(Staged.from_bytes(carried).missing()) == (count < 2)
    arrived = Staged.from_bytes(carried)
    assert arrived.files == release.files
    arrived.check(keys.repository().kept.root.signed)


def test_a_key_that_has_no_say_is_refused(release):
    with pytest.raises(WrongSigner, match="does not sign targets"):
        release.sign(CryptoSigner.generate_ed25519())
    assert release.metadata.signatures == {}


def test_a_signer_reads_what_he_signs(release):
    text = "\n".join(describe_staged(release))
    assert "targets version 2, valid until 2027-02-22 12:00 UTC" in text
    assert '"ring_percent": 5.0' in text
    assert "client/c-1.2-py3-none-any.whl  5 bytes  sha256" in text
    assert "models/* are signed by models-1" in text
    assert "has 0 of 2 signatures; not signed yet by: alice, bob, carol" in text


def test_a_root_that_comes_with_the_change_is_not_what_it_is_checked_against(keys, release, tmp_path):
    """Whoever carries the file puts his own root into it: the service asks the root in force."""
    thief = CryptoSigner.generate_ed25519()
    document = json.loads(keys.sign(release, "alice").to_bytes())
    root = document["root"]["signed"]
    root["keys"][thief.public_key.keyid] = thief.public_key.to_dict()
    root["roles"]["targets"]["keyids"].append(thief.public_key.keyid)
    forged = Staged.from_bytes(json.dumps(document).encode())
    forged.sign(thief)
    assert forged.missing() == []
    repository = keys.repository()
    with pytest.raises(ThresholdMissed, match="has 1 of 2 signatures"):
        repository.take_targets(forged)
    assert repository.kept.targets.signed.version == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"metadata": {}, "files": {}, "root": null, "coming": null}',
        b'{"metadata": {"signed": {"_type": "root"}, "signatures": []}, "files": {}, "root": null, "coming": null}',
    ],
)
def test_what_is_no_staged_change_is_refused_in_a_sentence(content):
    with pytest.raises(StagedUnreadable, match="this is not a staged change"):
        Staged.from_bytes(content)


def test_files_that_are_not_those_that_the_metadata_names_are_refused(release):
    document = json.loads(release.to_bytes())
    document["files"]["client/c-1.2-py3-none-any.whl"] = "ZXZpbCE="
    with pytest.raises(StagedUnreadable, match="is not the file that the metadata names"):
        Staged.from_bytes(json.dumps(document).encode())
    document["files"] = {"client/other.whl": ""}
    with pytest.raises(StagedUnreadable, match=r"does not name client/other\.whl"):
        Staged.from_bytes(json.dumps(document).encode())


def test_a_key_is_encrypted_and_never_overwritten(tmp_path):
    path = tmp_path / "key.pem"
    public = make_key(path, name="dora", password="long words")
    assert is_encrypted(path)
    assert load_signer(path, password="long words").public_key.keyid == public.keyid
    assert load_public(tmp_path / "key.pub").keyid == public.keyid
    for password, sentence in ((None, "is encrypted"), ("wrong", "the password is wrong")):
        with pytest.raises(KeyUnusable, match=sentence):
            load_signer(path, password=password)
    content = path.read_bytes()
    with pytest.raises(KeyUnusable, match="keys are never overwritten"):
        make_key(path, name="dora", password=None)
    assert path.read_bytes() == content


def test_a_public_key_whose_id_belongs_to_another_is_refused(keys, tmp_path):
    documents = [json.loads((keys.place / f"{name}.pub").read_text()) for name in ("alice", "bob")]
    documents[0]["keyval"] = documents[1]["keyval"]
    forged = tmp_path / "forged.pub"
    forged.write_text(json.dumps(documents[0]))
    with pytest.raises(KeyUnusable, match="id does not belong to it"):
        load_public(forged)


@pytest.mark.parametrize("whose", ["a stranger's key under carol's id", "bob's key once more, under another id"])
def test_a_key_under_an_id_that_is_not_its_own_is_shown_to_no_signer(keys, whose):
    root = keys.repository().kept.root or keys.started().kept.root
    staged = next_root(root.signed, now=NOW)
    staged.in_force = root
    document = json.loads(staged.to_bytes())
    signed = document["metadata"]["signed"]
    bob, carol = (load_public(keys.place / f"{name}.pub") for name in ("bob", "carol"))
    if whose.startswith("a stranger"):
        stranger = CryptoSigner.generate_ed25519().public_key.to_dict()
        signed["keys"][carol.keyid] = {**stranger, "x-name": "carol"}
    else:
        again = "0" * 64
        signed["keys"][again] = bob.to_dict()
        signed["roles"]["root"]["keyids"].append(again)
    with pytest.raises(StagedUnreadable, match="which is not its own"):
        Staged.from_bytes(json.dumps(document).encode())


def test_a_file_that_is_nested_without_end_is_no_change():
    with pytest.raises(StagedUnreadable, match="this is not a staged change"):
        Staged.from_bytes(b"[" * 100_000)
