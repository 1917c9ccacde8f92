"""Verify an exported case with the standard library alone: python3 -I -S verify.py [FOLDER] [--key KEY] [--disclosure FILE]

FOLDER is the bundle (default: that of this script); take the script from somebody you trust, not from the bundle you doubt.
--key is the verifier key of the house's checkpoints; it has to come to you by a way of its own. --disclosure is a file with
values that were redacted, to be held against what the bundle committed to. Ends with 0 where all holds, else with 1."""

import argparse
import base64
import hashlib
import json
import os
import re
import stat
import sys

HEX = re.compile(r"[0-9a-f]{64}")
LISTED = re.compile(r"([0-9a-f]{64})  (\S.*)")
GENESIS = "0" * 64
DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
#: Text of verify_proof.py, put in when the script is given away: nothing that lies in a bundle is ever run.
PROOF = ""
PAYLOAD, TAGS = "manifest-sha256.txt", "tagmanifest-sha256.txt"


class Bad(Exception):
    """What does not hold."""


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def inside(name):
    """Whether a name stays below the folder: no absolute path, no step up, nothing another system reads differently."""
    parts = name.split("/")
    odd = "\\" in name or ":" in name or any(ord(c) < 32 for c in name)
    return not odd and all(part not in ("", ".", "..") for part in parts)


def found(folder):
    """Every file below the folder. A link, a device or anything else that is no plain file is refused."""
    names, stack = set(), [""]
    while stack:
        at = stack.pop()
        for entry in os.scandir(os.path.join(folder, at)):
            name = f"{at}/{entry.name}" if at else entry.name
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                stack.append(name)
            elif stat.S_ISREG(mode):
                names.add(name)
            else:
                raise Bad(f"{name}: no plain file")
    return names


def read(folder, name):
    with open(os.path.join(folder, *name.split("/")), "rb") as file:
        return file.read()


def manifest(folder, name):
    listed = {}
    try:
        lines = read(folder, name).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Bad(f"{name}: {error}") from None
    if lines.pop() != "":
        raise Bad(f"{name}: its last line is cut")
    for line in lines:
        match = LISTED.fullmatch(line)
        if not match:
            raise Bad(f"{name}: not a line of a manifest: {line[:80]!r}")
        path = match[2].replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
        if not inside(path):
            raise Bad(f"{name}: {path!r} leads out of the bundle")
        if path in listed:
            raise Bad(f"{name}: {path} stands twice")
        listed[path] = match[1]
    return listed


def files(folder, problems):
    """Checks both manifests against what lies there, whole; gives the payload by path below data/."""
    there = found(folder)
    tags, payload = manifest(folder, TAGS), manifest(folder, PAYLOAD)
    for name in sorted(payload):
        if not name.startswith("data/"):
            raise Bad(f"{PAYLOAD}: {name} is not below data/")
    for name in sorted(tags):
        if name.startswith("data/") or name == TAGS:
            raise Bad(f"{TAGS}: {name} does not belong there")
    for name in ("bagit.txt", "bag-info.txt", PAYLOAD):
        if name not in tags:
            raise Bad(f"{TAGS}: {name} is not listed")
    listed = {**tags, **payload}
    problems += [f"{name}: missing" for name in sorted(listed.keys() - there)]
    problems += [f"{name}: not listed in a manifest" for name in sorted(there - listed.keys() - {TAGS})]
    contents = {}
    for name in sorted(listed.keys() & there):
        contents[name] = read(folder, name)
        if sha256(contents[name]) != listed[name]:
            problems.append(f"{name}: altered: its sha256 is not the one in {TAGS if name in tags else PAYLOAD}")
    if contents.get("bagit.txt") not in (None, DECLARATION):
        problems.append("bagit.txt: not the declaration of BagIt 1.0")
    return {name[5:]: data for name, data in contents.items() if name.startswith("data/")}


def text(payload, name):
    if name not in payload:
        raise Bad(f"data/{name}: missing")
    try:
        return json.loads(payload[name].decode("utf-8"))
    except ValueError as error:
        raise Bad(f"data/{name}: not JSON: {error}") from None


def crate(payload, problems):
    graph = {one.get("@id"): one for one in text(payload, "ro-crate-metadata.json")["@graph"]}
    parts = {part["@id"] for part in graph["./"]["hasPart"]}
    expected = payload.keys() - {"ro-crate-metadata.json"}
    for name in sorted(parts ^ expected):
        problems.append(f"data/ro-crate-metadata.json: {name} is {'not there' if name in parts else 'not described'}")
    for name in sorted(parts & expected):
        if graph.get(name, {}).get("sha256") != sha256(payload[name]):
            problems.append(f"data/ro-crate-metadata.json: {name} has another sha256")


def timeline(payload, number, problems):
    """The events of the case: each hash is made of what stands before it and of the body, and every body is about this case."""
    events, last = [], 0
    for at, line in enumerate(payload.get("timeline.jsonl", b"").decode("utf-8").splitlines(), 1):
        where, event = f"data/timeline.jsonl:{at}", json.loads(line)
        if event["seq"] <= last:
            problems.append(f"{where}: event {event['seq']} is out of order")
        last = event["seq"]
        body = event["body"]
        if isinstance(body, str):
            made = sha256(b"\x00" + bytes.fromhex(event["prev_hash"]) + body.encode("utf-8"))
            if made != event["hash"]:
                problems.append(f"{where}: the hash of event {last} is not that of its body")
            before = events[-1] if events and events[-1]["seq"] == last - 1 else {}
            if before.get("hash", event["prev_hash"]) != event["prev_hash"]:
                problems.append(f"{where}: event {last} does not continue the one before it")
            body = json.loads(body)
        if body["case"] != number:
            problems.append(f"{where}: event {last} is about {body['case']}")
        events.append({**event, "parsed": body})
    if not events or events[0]["parsed"]["kind"] != "case.opened":
        problems.append("data/timeline.jsonl: it does not begin with the opening of the case")
    return events


def evidence(payload, case, events, redacted, problems):
    """Every artefact that an event names is there under its own digest, and there is no other.

    What left the case by a split is not: it is in the bundle of the case it went to.
    """
    of, gone = {}, set()
    for event in events:
        data = event["parsed"]["data"]
        if event["parsed"]["kind"] == "case.findings":
            for one in data["findings"]:
                of.setdefault(one["finding_id"], set()).add(one["evidence_sha256"])
        for one in data.get("moves", ()):
            gone = gone | {one["finding_id"]} if one["move"] % 2 else gone - {one["finding_id"]}
    named = {each for finding_id, artefacts in of.items() if finding_id not in gone for each in artefacts}
    for one in case["findings_detail"]:
        latest = {each["evidence_sha256"] for each in one["occurrences"]}
        if one["evidence_sha256"] not in latest:
            problems.append(f"data/case.json: evidence of finding {one['finding_id']} is that of no night")
        named |= latest
    there = {}
    for name, data in payload.items():
        if name.startswith("evidence/"):
            there[name[9:].removesuffix(".json")] = data
    names = {redacted["evidence"][one] if one in redacted.get("evidence", {}) else one for one in named}
    lost = set(redacted.get("lost", ())) | set(case.get("evidence_lost", ()))
    for name in sorted(names - there.keys() - lost):
        problems.append(f"data/evidence/{name}.json: missing, and the history names it")
    for name in sorted(there.keys() - names):
        problems.append(f"data/evidence/{name}.json: the history names no such evidence")
    for name, data in sorted(there.items()):
        if HEX.fullmatch(name) and sha256(data) != name:
            problems.append(f"data/evidence/{name}.json: its content is not what its name says")
        elif not HEX.fullmatch(name) and name not in redacted.get("evidence", {}).values():
            problems.append(f"data/evidence/{name}.json: neither evidence nor redacted evidence")


def attachments(payload, case, events, redacted, problems):
    """Every file that was put beside the case is there under its digest, unless all are withheld, and there is no other."""
    beside = (event["parsed"]["data"].get("attachment") for event in events if event["parsed"]["kind"] == "case.attach")
    named = {one["sha256"] for one in beside} - set(case["evidence_lost"])
    there = {name[12:]: data for name, data in payload.items() if name.startswith("attachments/")}
    expected = set() if redacted["attachments"] == "withhold" else named
    for name in sorted(expected ^ there.keys()):
        said = "missing, and the history names it" if name in expected else "the history names no such attachment"
        problems.append(f"data/attachments/{name}: {said}")
    for name, data in sorted(there.items()):
        if sha256(data) != name:
            problems.append(f"data/attachments/{name}: its content is not what its name says")
    return len(named)


def proofs(payload, events, key, problems):
    """The proof is about these very events; with a key its signature and paths are checked as well."""
    if "proofs/proof.json" not in payload:
        return text(payload, "proofs/none.json")["en"]
    proof = text(payload, "proofs/proof.json")
    bodies = {event["seq"]: (event["prev_hash"], event["body"]) for event in events}
    for one in proof["events"]:
        if bodies.get(one["seq"]) != (one["prev_hash"], one["body"]):
            problems.append(f"data/proofs/proof.json: event {one['seq']} is not the one of the timeline")
    left = sorted(bodies.keys() - {one["seq"] for one in proof["events"]} - set(proof["not_covered"]))
    if left:
        problems.append(f"data/proofs/proof.json: events {left} are not proven")
    if key is None:
        return "signature not checked: no --key was given"
    module = {"__name__": "proof"}
    exec(compile(PROOF, "verify_proof.py", "exec"), module)
    try:
        return module["main"](proof, key)
    except Exception as error:
        problems.append(f"data/proofs/proof.json: {type(error).__name__}: {error}")
        return "not proven"


def disclosed(path, redacted, problems):
    """Values told later are those that were redacted."""
    with open(path, encoding="utf-8") as file:
        values = json.load(file)["values"]
    known = {one["marker"]: one["commitment"] for one in redacted.get("values", ())}
    for one in values:
        made = sha256(base64.b64decode(one["salt"]) + one["value"].encode("utf-8"))
        if known.get(one["marker"]) != made:
            problems.append(f"{path}: {one['marker']} is not what was redacted")
    return f"{len(values)} disclosed values are those that were redacted"


def verify(folder, key=None, disclosure=None):
    """(what does not hold, what was found); nothing in the first where all holds."""
    problems, said = [], []
    try:
        payload = files(folder, problems)
        if problems:
            return problems, said
        crate(payload, problems)
        case, redacted = text(payload, "case.json"), text(payload, "redaction.json")
        events = timeline(payload, case["number"], problems)
        evidence(payload, case, events, redacted, problems)
        beside = attachments(payload, case, events, redacted, problems)
        said.append(f"{case['number']}: {len(payload)} files, {len(events)} events, profile {redacted['profile']}")
        if beside and redacted["attachments"] == "withhold":
            said.append(f"withheld: {beside} attachments")
        said.append(f"proof: {proofs(payload, events, key, problems)}")
        if redacted["values"]:
            said.append(f"redacted: {len(redacted['values'])} values in {sum(redacted['counts'].values())} places")
        if disclosure:
            said.append(disclosed(disclosure, redacted, problems))
    except Bad as error:
        problems.append(str(error))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OSError) as error:
        problems.append(f"the bundle is not what it should be: {type(error).__name__}: {error}")
    return problems, said


def main():
    parser = argparse.ArgumentParser(description="Verify an exported case.")
    parser.add_argument("folder", nargs="?", default=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--key")
    parser.add_argument("--disclosure")
    given = parser.parse_args()
    problems, said = verify(given.folder, given.key, given.disclosure)
    print("\n".join(said))
    if problems:
        sys.exit("\n".join(["NOT OK", *problems]))
    print("ok")


if __name__ == "__main__":
    main()
