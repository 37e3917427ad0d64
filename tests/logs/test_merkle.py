"""Known answers of RFC 6962 trees, and proofs that hold for what is there and for nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpo_pilot.logs.merkle import (
    EMPTY,
    consistency_proof,
    holds_consistency,
    holds_inclusion,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tree_root,
)

DATA = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    bytes(range(0x50, 0x58)),
    bytes(range(0x60, 0x70)),
]
"""Leaves of the reference test of Certificate Transparency."""
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize("size", ROOTS)
def test_roots_are_the_published_ones(size: int) -> None:
    assert tree_root([leaf_hash(data) for data in DATA[:size]]).hex() == ROOTS[size]


def test_the_tree_without_leaves_and_a_tree_of_three_by_hand() -> None:
    assert tree_root([]) == EMPTY == hashlib.sha256().digest()
    a, b, c = (leaf_hash(data) for data in (b"a", b"b", b"c"))
    assert tree_root([a, b, c]) == node_hash(node_hash(a, b), c)
    assert inclusion_proof([a, b, c], 0) == (b, c)
    assert inclusion_proof([a, b, c], 2) == (node_hash(a, b),)


def test_a_node_is_no_leaf() -> None:
    left, right = leaf_hash(b"l"), leaf_hash(b"r")
    assert leaf_hash(left + right) != node_hash(left, right)


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(index).encode()) for index in range(count)]


@given(st.integers(1, 70), st.data())
def test_a_leaf_is_proved_and_nothing_else_is(count: int, data: st.DataObject) -> None:
    tree = leaves(count)
    index = data.draw(st.integers(0, count - 1))
    proof, root = inclusion_proof(tree, index), tree_root(tree)
    assert holds_inclusion(tree[index], index, count, proof, root)
    assert not holds_inclusion(leaf_hash(b"other"), index, count, proof, root)
    assert not holds_inclusion(tree[index], index, count, (*proof, root), root)
    if count > 1:
        assert not holds_inclusion(tree[index], (index + 1) % count, count, proof, root)
        assert not holds_inclusion(tree[index], index, count, proof[:-1], root)


@given(st.integers(1, 70), st.data())
def test_growth_is_proved_and_rewriting_is_not(count: int, data: st.DataObject) -> None:
    tree = leaves(count)
    size = data.draw(st.integers(1, count))
    proof = consistency_proof(tree, size)
    old, new = tree_root(tree[:size]), tree_root(tree)
    assert holds_consistency(size, count, proof, old, new)
    changed = [*tree[: size - 1], leaf_hash(b"changed"), *tree[size:]]
    assert not holds_consistency(size, count, proof, tree_root(changed[:size]), new)
    if size < count:
        assert not holds_consistency(size, count, proof, old, tree_root(changed))
        assert not holds_consistency(size, count, proof[:-1], old, new)


def test_indices_outside_the_tree_are_refused() -> None:
    with pytest.raises(IndexError, match="leaf 3 of 3"):
        inclusion_proof(leaves(3), 3)
    with pytest.raises(IndexError, match="first 4 of 3"):
        consistency_proof(leaves(3), 4)
    assert not holds_inclusion(leaves(1)[0], 1, 1, (), leaves(1)[0])
    assert not holds_consistency(0, 3, (), EMPTY, tree_root(leaves(3)))
