"""Write docs/benchmarks.md from benchmarks/results/*.json: `python benchmarks/page.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

HEAD = """# Benchmarks

Every figure on this page was written by a program in `benchmarks/` into `benchmarks/results/`; this page is made from those
files by `python benchmarks/page.py`. A timing is a ratio in one run against a named yardstick on the same machine; seconds
are the median of warm runs. `make bench` takes the figures again (4 GB of disk, about half an hour).
"""


def _peer(peer: dict[str, Any], seconds: float) -> str:
    if "seconds" in peer:
        return f"{peer['seconds']:.1f} s ({peer['seconds'] / seconds:.1f} ×)"
    return str(peer["outcome"])


def core_table(results: list[dict[str, Any]]) -> list[str]:
    """The diversion core, one line per number of serials."""
    lines = [
        "",
        "## The diversion core",
        "",
        "What a night runs for `diversion.out_of_territory`: new sightings against the custody of every serial (24 to a carton,",
        "carton → dealer → territory). Yardstick: `select sum(hash(column))` over the same Parquet columns. Peer: a pandas",
        "merge of the same files that only finds the holder, without territories, permits or borders, bounded to 20 GiB.",
        "`python benchmarks/diversion_core.py --serials N --sightings M`.",
        "",
        "| serials | sightings | core | bare scan | ratio | must reach | peak memory | limit | bytes per serial | pandas |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for item in sorted(results, key=lambda result: result["serials"]):
        lines.append(
            f"| {item['serials']:,} | {item['sightings']:,} | {item['core_seconds']:.1f} s | {item['scan_seconds']:.1f} s "
            f"| {item['ratio']:.2f} × | ≤ {item['must_reach']:g} × | {item['peak_memory_gb']:.1f} GB | {item['memory_limit']} "
            f"| {item['bytes_per_serial']:.2f} | {_peer(item['pandas'], item['core_seconds'])} |"
        )
    item = results[-1]
    machine = item["machine"]
    lines += [
        "",
        f"{machine['cores']} cores, Python {machine['python']}, DuckDB {item['duckdb']}, {item['runs']} warm runs.",
        "Serials are numbered one after the other and lie sorted, as a packing line numbers them; random serials compress worse.",
    ]
    return lines


def audit_table(results: list[dict[str, Any]]) -> list[str]:
    """Verifying a history, one line per database."""
    lines = [
        "",
        "## Verifying a history",
        "",
        "The chain with its links, Merkle roots and checkpoints; then the whole, with the tables rebuilt from the events.",
        "Yardstick: the same rows by the same cursor, one sha256 each. Seconds on a core are those of the process, whatever",
        "else ran. `python benchmarks/audit_verify.py --events N [--url postgresql://…]`.",
        "",
        "| database | events | chain | events/s | must reach | bare pass | ratio | on a core | whole | load |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for item in results:
        lines.append(
            f"| {item['database']} | {item['events']:,} | {item['chain_seconds']:.2f} s | {item['chain_events_per_second']:,} "
            f"| ≥ {item['must_reach_events_per_second']:,} | {item['bare_seconds']:.2f} s | {item['ratio']:.2f} × "
            f"| {item['chain_events_per_core_second']:,}/s | {item['whole_seconds']:.1f} s | {item['load_average']:g} |"
        )
    return lines


def claim_table(results: list[dict[str, Any]]) -> list[str]:
    """Claiming the next case, one line per database."""
    lines = [
        "",
        "## The next case",
        "",
        "`cases next` for an analyst of one district of 2,000, whose ten cases are the least urgent of all. Yardstick: asking",
        "one case after the other whether it is his, as was done before the database was asked; from the first hundreds.",
        "`python benchmarks/claim_next.py --cases N [--url postgresql://…]`.",
        "",
        "| database | cases | claim | one by one | ratio | load |",
        "|---|---|---|---|---|---|",
    ]
    for item in results:
        lines.append(
            f"| {item['database']} | {item['cases']:,} | {item['claim_seconds']:.2f} s | {item['one_by_one_seconds']:.0f} s "
            f"| {item['ratio']:.0f} × | {item['load']:.1f} |"
        )
    return lines


def main() -> None:
    results = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "benchmarks/results").glob("*.json"))
    }
    core = [result for name, result in results.items() if name.startswith("diversion_core_")]
    lines = HEAD.splitlines() + (core_table(core) if core else [])
    audit = [result for name, result in results.items() if name.startswith("audit_verify_")]
    lines += audit_table(audit) if audit else []
    claim = [result for name, result in results.items() if name.startswith("claim_next_")]
    lines += claim_table(claim) if claim else []
    # The quality of detection has a page of its own: benchmarks/quality_page.py.
    shown = ("diversion_core_", "audit_verify_", "claim_next_", "quality_")
    others = {name: result for name, result in results.items() if not name.startswith(shown)}
    for name, result in others.items():
        lines += [
            "",
            f"## {result.get('what', name)}",
            "",
            f"`python benchmarks/{name}.py`",
            "",
            "| figure | value |",
            "|---|---|",
        ]
        lines += [
            f"| {key} | {value} |"
            for key, value in sorted(result.items())
            if not isinstance(value, dict | list) and key != "what"
        ]
    (ROOT / "docs/benchmarks.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
