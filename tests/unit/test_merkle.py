"""The Merkle tree against published roots of RFC 6962 test data and against the definition, written down a second time."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fangcuan.core import merkle

#: Entries and roots of the certificate-transparency reference tests: MTH of the first 0, 1, … 8 entries.
ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(entries: list[bytes]) -> bytes:
    """RFC 6962 §2.1, as it stands there."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 §2.1.1."""
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def leaves(number: int) -> list[bytes]:
    return [merkle.leaf_hash(str(n).encode()) for n in range(number)]


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_published_roots(size: int) -> None:
    hashes = [merkle.leaf_hash(entry) for entry in ENTRIES[:size]]
    assert merkle.root(hashes).hex() == ROOTS[size] == mth(ENTRIES[:size]).hex()
    accumulator = merkle.Accumulator()
    for leaf in hashes:
        accumulator.add(leaf)
    assert accumulator.root().hex() == ROOTS[size]


def test_every_proof_of_every_small_tree() -> None:
    for size in range(1, 34):
        entries = [str(n).encode() for n in range(size)]
        hashes = leaves(size)
        top = merkle.root(hashes)
        assert top == mth(entries)
        for index in range(size):
            proof = merkle.inclusion_proof(hashes, index)
            assert proof == path(index, entries)
            assert merkle.verify_inclusion(hashes[index], index, size, proof, top)
            for other in range(-1, size + 1):
                same = merkle.verify_inclusion(hashes[index], other, size, proof, top)
                assert same == (other == index)
        for first in range(1, size + 1):
            proof = merkle.consistency_proof(hashes, first)
            old = merkle.root(hashes[:first])
            assert merkle.verify_consistency(first, old, size, top, proof)
            assert not merkle.verify_consistency(first, merkle.leaf_hash(b"x"), size, top, proof)
            assert not merkle.verify_consistency(first, old, size, merkle.leaf_hash(b"x"), proof)
            assert not merkle.verify_consistency(first, old, size, top, [*proof, top])
            if proof:
                assert not merkle.verify_consistency(first, old, size, top, proof[:-1])


@given(st.integers(1, 5000), st.lists(st.integers(1, 3000), max_size=6))
def test_the_accumulator_is_the_tree(size: int, cuts: list[int]) -> None:
    hashes = leaves(size)
    accumulator = merkle.Accumulator()
    at = 0
    for cut in [*sorted(cuts), size]:
        upto = min(cut, size)
        accumulator.extend(hashes[at:upto])
        at = max(at, upto)
        assert accumulator.size == at
        assert accumulator.root() == merkle.root(hashes[:at])


@given(st.data())
def test_a_changed_leaf_or_hash_never_verifies(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    hashes = leaves(size)
    top = merkle.root(hashes)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(hashes, index)
    assert merkle.verify_inclusion(hashes[index], index, size, proof, top)
    assert not merkle.verify_inclusion(merkle.leaf_hash(b"other"), index, size, proof, top)
    for at in range(len(proof)):
        bit = 1 << data.draw(st.integers(0, 7))
        broken = bytes([proof[at][0] ^ bit]) + proof[at][1:]
        assert not merkle.verify_inclusion(hashes[index], index, size, [*proof[:at], broken, *proof[at + 1 :]], top)
    changed = data.draw(st.integers(0, size - 1))
    rewritten = [*hashes[:changed], merkle.leaf_hash(b"rewritten"), *hashes[changed + 1 :]]
    first = data.draw(st.integers(changed + 1, size))
    old = merkle.root(hashes[:first])
    assert not merkle.verify_consistency(
        first, old, size, merkle.root(rewritten), merkle.consistency_proof(rewritten, first)
    )


def test_what_is_outside_the_tree_is_an_error() -> None:
    for index in (-1, 3):
        with pytest.raises(ValueError, match="not in a tree of 3"):
            merkle.inclusion_proof(leaves(3), index)
    for first in (0, 4):
        with pytest.raises(ValueError, match="no beginning"):
            merkle.consistency_proof(leaves(3), first)
    assert not merkle.verify_consistency(0, merkle.EMPTY_ROOT, 3, merkle.root(leaves(3)), [])
    assert not merkle.verify_inclusion(leaves(1)[0], 0, 0, [], merkle.EMPTY_ROOT)
