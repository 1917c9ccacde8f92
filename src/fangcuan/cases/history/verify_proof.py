"""Verify a proof of Fangcuan with the standard library alone: python verify_proof.py proof.json '<verifier key>'

The key has to come to you by a way of its own, not in the proof. Ends with 0 where all holds, 1 where something does not.
c2sp.org/signed-note, c2sp.org/tlog-checkpoint; RFC 8032 §5.1.7 (Ed25519); RFC 9162 §2.1.3.2, §2.1.4.2 (Merkle proofs)."""

import base64
import hashlib
import json
import sys

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def decode(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "not base64 in its one form")  # Stray bits would allow several.
    return data


def need(holds, why):
    if not holds:
        raise ValueError(why)


def point(data):
    y, sign = int.from_bytes(data, "little") & (1 << 255) - 1, data[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if (x * x - square) % P == 0 else x * pow(2, (P - 1) // 4, P) % P
    need(len(data) == 32 and y < P and (x * x - square) % P == 0 and (x or not sign), "not a point of the curve")
    return (x if x & 1 == sign else P - x), y


def add(a, b):
    (x, y), (u, v) = a, b
    t = D * x * y * u * v % P
    return (x * v + u * y) * pow(1 + t, -1, P) % P, (y * v + x * u) * pow(1 - t, -1, P) % P


def times(number, at):
    total = (0, 1)
    while number:
        total, at, number = (add(total, at) if number & 1 else total), add(at, at), number >> 1
    return total


def checkpoint(note, name, key_id, public):
    text, _, lines = note.rpartition("\n\n")
    for dash, who, encoded in (line.split(" ") for line in lines.splitlines()):
        need(dash == "—", "a line of the note is no signature")
        if who == name and (data := decode(encoded))[:4] == key_id:
            r, s = data[4:36], int.from_bytes(data[36:], "little")
            h = int.from_bytes(hashlib.sha512(r + public + f"{text}\n".encode()).digest(), "little") % L
            left = times(s, point((4 * pow(5, -1, P) % P).to_bytes(32, "little")))
            need(len(data) == 68 and s < L and left == add(point(r), times(h, point(public))), "wrong signature")
            origin, size, root = text.split("\n")[:3]
            need(origin == name, "the checkpoint has another origin")
            return int(size), decode(root)
    raise ValueError("not signed by the given key")


def climb(at, last, start, path):
    old = new = start  # The roots of the tree that ended at `at` (for consistency), and of the whole one.
    for beside in path:
        need(last, "the path is too long")
        right = at & 1 or at == last
        new = hashlib.sha256(b"\x01" + (beside + new if right else new + beside)).digest()
        old = hashlib.sha256(b"\x01" + beside + old).digest() if right else old
        while right and at and not at & 1:
            at, last = at >> 1, last >> 1
        at, last = at >> 1, last >> 1
    need(last == 0, "the path is too short")
    return old, new


def main(proof, text):
    name, key_id, encoded = text.split("+", 2)
    key = name, bytes.fromhex(key_id), decode(encoded)[1:]
    size, root = checkpoint(proof["checkpoint"], *key)
    for event in proof["events"]:
        entry = b"\x00" + bytes.fromhex(event["prev_hash"]) + event["body"].encode()
        path, at = [bytes.fromhex(one) for one in event["path"]], event["seq"] - 1
        found = climb(at, size - 1, hashlib.sha256(entry).digest(), path)[1] if 0 <= at < size else None
        need(found == root, f"event {at + 1} is not what was signed")
    if older := proof["consistency"]:
        first, first_root = checkpoint(older["checkpoint"], *key)
        path = [bytes.fromhex(one) for one in older["proof"]]
        path = path if first & (first - 1) and first != size else [first_root, *path]
        shift = (first & -first).bit_length() - 1 if first != size else size.bit_length()
        found = climb((first - 1) >> shift, (size - 1) >> shift, path[0], path[1:]) if 0 < first <= size else None
        need(found == (first_root, root), "the history does not continue the older checkpoint")
    return f"ok: {len(proof['events'])} events are in the checkpoint of {size}{', which continues the older' if older else ''}"


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            print(main(json.load(file), sys.argv[2]))
    except Exception as error:
        sys.exit(f"NOT OK: {type(error).__name__}: {error}")
