"""The Merkle tree of RFC 6962 §2.1: roots, inclusion proofs and consistency proofs, over leaf hashes.

A leaf hash is sha256(0x00 ‖ entry), a node sha256(0x01 ‖ left ‖ right), 32 bytes each. The tree of n leaves splits at the
largest power of two below n; the root of no leaves is sha256 of nothing. The functions that verify hold the same shapes as
RFC 9162 §2.1.3.2 and §2.1.4.2 and take nothing on trust: lengths, bounds and leftover hashes are checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()
#: Leaves hashed at a time by `Accumulator`: a whole subtree, so that few calls are made per leaf.
_BLOCK = 1 << 10


def leaf_hash(entry: bytes) -> bytes:
    """sha256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """sha256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n]) of RFC 6962 §2.1 over leaf hashes."""
    level = list(leaves)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        level = _level_up(level)
    return level[0]


class Accumulator:
    """Leaves added in order; the root of all so far at any time, with one hash in memory per level of the tree."""

    def __init__(self) -> None:
        self.size = 0
        #: (leaves below, hash) of the whole subtrees that make up the tree, from left to right.
        self._peaks: list[tuple[int, bytes]] = []
        self._pending: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        self.extend((leaf,))

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes of 32 bytes each."""
        self._pending += leaves
        self.size += len(leaves)
        whole = len(self._pending) - len(self._pending) % _BLOCK
        for start in range(0, whole, _BLOCK):
            self._push(_BLOCK, root(self._pending[start : start + _BLOCK]))
        if whole:
            del self._pending[:whole]

    def root(self) -> bytes:
        """MTH of the leaves so far."""
        if not self.size:
            return EMPTY_ROOT
        hashes = [peak for _, peak in self._peaks]
        if self._pending:
            # The peaks hold whole blocks, so what is pending is the right-most subtree.
            hashes.append(root(self._pending))
        folded = hashes.pop()
        while hashes:
            folded = node_hash(hashes.pop(), folded)
        return folded

    def _push(self, below: int, peak: bytes) -> None:
        while self._peaks and self._peaks[-1][0] == below:
            _, left = self._peaks.pop()
            below, peak = below * 2, node_hash(left, peak)
        self._peaks.append((below, peak))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, D[n]) of RFC 6962 §2.1.1: the hashes beside the way from leaf `index` (from 0) up to the root.

    Raises ValueError for an index outside the tree.
    """
    if not 0 <= index < len(leaves):
        raise ValueError(f"leaf {index} is not in a tree of {len(leaves)}")
    path = []
    level = list(leaves)
    while len(level) > 1:
        if (beside := index ^ 1) < len(level):
            path.append(level[beside])
        level, index = _level_up(level), index >> 1
    return path


def consistency_proof(leaves: Sequence[bytes], first: int) -> list[bytes]:
    """PROOF(first, D[n]) of RFC 6962 §2.1.2: that the tree of the first `first` leaves is the beginning of this one.

    Empty for equal sizes. Raises ValueError unless 0 < first <= n.
    """
    if not 0 < first <= len(leaves):
        raise ValueError(f"a tree of {first} is no beginning of a tree of {len(leaves)}")
    return _subproof(leaves, first, True)


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """Does `path` lead from leaf hash `leaf` at `index` to the root `expected` of a tree of `size` leaves?"""
    if not 0 <= index < size:
        return False
    at, last, folded = index, size - 1, leaf
    for beside in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            folded = node_hash(beside, folded)
            # The last node of a level without a neighbour moves up as it is.
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            folded = node_hash(folded, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and folded == expected


def verify_consistency(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Is the tree of `first` leaves with `first_root` the beginning of the tree of `second` leaves with `second_root`?"""
    if not 0 < first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    hashes = list(proof)
    if first & (first - 1) == 0:
        # A whole subtree: its root is known and left out of the proof.
        hashes.insert(0, first_root)
    if not hashes:
        return False
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = hashes[0]
    for beside in hashes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(beside, old), node_hash(beside, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _level_up(level: Sequence[bytes]) -> list[bytes]:
    sha256 = hashlib.sha256
    above = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
    if len(level) & 1:
        above.append(level[-1])
    return above


def _subproof(leaves: Sequence[bytes], first: int, whole: bool) -> list[bytes]:
    if first == len(leaves):
        return [] if whole else [root(leaves)]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if first <= split:
        return [*_subproof(leaves[:split], first, whole), root(leaves[split:])]
    return [*_subproof(leaves[split:], first - split, False), root(leaves[:split])]
