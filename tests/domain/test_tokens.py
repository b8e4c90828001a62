"""Opaque tokens: they open to what was sealed, and say nothing to who holds them."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given, strategies

from workunits.domain.tokens import (
    ReplicaRef,
    ReplicaUnknown,
    make_salt,
    open_token,
    salted_digest,
    seal_tokens,
)

KEY = bytes(range(16))
refs = strategies.builds(
    ReplicaRef,
    strategies.integers(1, 2**47),
    strategies.integers(0, 2**31 - 1),
    strategies.integers(1, 2**31 - 1),
    strategies.integers(1, 255),
)


@given(strategies.lists(refs, min_size=1, max_size=20))
def test_a_token_opens_to_what_it_was_sealed_from(sealed):
    tokens = seal_tokens(KEY, sealed)
    assert [open_token(KEY, token) for token in tokens] == sealed
    assert {len(token) for token in tokens} == {22}


def test_tokens_of_neighbouring_replicas_share_nothing():
    first, second = seal_tokens(KEY, [ReplicaRef(1, 0, 1, 1), ReplicaRef(1, 0, 2, 1)])
    equal = sum(a == b for a, b in zip(first, second, strict=True))
    assert equal < 8


@pytest.mark.parametrize("token", ["", "short", "A" * 21, "A" * 23, "A" * 21 + "!", "é" * 22, "A" * 20 + "=="])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(ReplicaUnknown):
        open_token(KEY, token)


@given(refs)
def test_a_token_has_one_spelling(ref):
    (token,) = seal_tokens(KEY, [ref])
    letters = string.ascii_letters + string.digits + "-_"
    spelled = {token[:-1] + letter for letter in letters} | {token.replace("-", "+"), token.replace("_", "/")}
    same = {
        each
        for each in spelled
        if base64.b64decode(each + "==", altchars=b"-_") == base64.b64decode(token + "==", altchars=b"-_")
    }
    assert len(same) >= 16
    for other in same - {token}:
        with pytest.raises(ReplicaUnknown):
            open_token(KEY, other)


@given(strategies.binary(min_size=16, max_size=16))
def test_a_forged_token_opens_to_nothing_that_could_exist_or_is_refused(block):
    token = base64.urlsafe_b64encode(block).rstrip(b"=").decode()
    try:
        ref = open_token(KEY, token)
    except ReplicaUnknown:
        return
    assert seal_tokens(KEY, [ref]) == [token]


def test_salts_differ_by_token_and_key_and_enter_the_digest():
    first, second = seal_tokens(KEY, [ReplicaRef(1, 0, 1, 1), ReplicaRef(1, 0, 2, 1)])
    salts = {make_salt(KEY, first), make_salt(KEY, second), make_salt(bytes(16), first)}
    assert len(salts) == 3
    assert {len(salt) for salt in salts} == {16}
    assert len({salted_digest(salt, b"output") for salt in salts}) == 3
