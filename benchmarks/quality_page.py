"""Write docs/quality.md from benchmarks/results/quality_baselines.json: `python benchmarks/quality_page.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks/results/quality_baselines.json"

HEAD = """# Quality of detection

Written by `python benchmarks/quality_page.py` from `benchmarks/results/quality_baselines.json`; `make quality` takes the
figures again. So far the page holds what a detector has to beat: the rules used in practice and plain statistics. The shipped
rules and detectors are not measured here yet.

## How it is measured
Worlds at the level of counts (`fangcuan.quality.worlds`): dealers with product lines, consumers who scan one sold unit in
fifty, units that travel innocently, and schemes that are planted and known. A *null* family has no scheme, so whatever is
filed there is false; in the others 3 % of the dealers divert once a year. Every rule is asked once a week and sees what had
arrived by then.

A *case* is account (dealer × product line) × destination × quarter. It is right if a scheme of that account had begun and was
not over for more than half a year; a rule that names no destination is let off naming it. So the figures favour the rules.
*Schemes* and *volume found* count a scheme as found by one right case. *Nights* is the median from the scheme's first week to
its first right case, in whole weeks. *Top 20* is the share of right cases among the twenty of highest score that are new in a
week. *Money* is what ten cases a week capture, against an oracle. Intervals (95 %) are Student's over the seeds; *at most* is
the exact one-sided 95 % limit of a Poisson rate.

Families marked \\* may be used to choose thresholds, all others are only reported. Nothing was tuned for the rules below:
their thresholds are those of practice. `plain_concordance` (three cartons, two devices each, two ship weeks) is no rule of
practice; it shows how far shared cartons carry without a null model.

## Measure another detector
A detector is anything that takes `Arrived` and gives `Filed` (`fangcuan.quality.arrived`). It is made anew for each world and
asked once a week, so it may remember.

```python
from fangcuan.quality.arrived import Filed
from fangcuan.quality.bench import QUICK, run


class Mine:
    def __call__(self, arrived):
        return Filed.of_accounts(arrived.orders[:, -1] > 100, arrived.orders[:, -1])


print(run(QUICK, {"mine": Mine})["results"])
```
"""
LIMITS = """
## What this does not show
Time passes in weeks, so delays below a week are not told apart. The geography is a made one. Nobody adapts to being watched.
Volume intervals, culprits, clones and prices are not part of these worlds. Sizes of schemes and of innocent flows are
assumptions, written down in `fangcuan.quality.spec` and `fangcuan.quality.flows`: figures depend on them, directions less so.
"""


def _share(value: dict[str, Any] | None) -> str:
    if value is None:
        return "–"
    text = f"{value['mean']:.0%}"
    return text if value["interval"] is None else f"{text} ({value['interval'][0]:.0%}–{value['interval'][1]:.0%})"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def _name(item: dict[str, Any]) -> str:
    return item["family"] + (" \\*" if item["set"] == "tuning" else "")


def nulls(results: list[dict[str, Any]]) -> list[str]:
    """False cases a year where nobody diverts, worst family of each rule first."""
    rows = []
    found = [item for item in results if item["kind"] == "null"]
    worst: dict[str, float] = {}
    for item in found:
        worst[item["method"]] = max(worst.get(item["method"], 0.0), item["false_cases_per_year"])
    families = list(dict.fromkeys(_name(item) for item in found))
    for method in sorted(worst, key=lambda name: -worst[name]):
        cells = {
            _name(item): f"{item['false_cases_per_year']:,.0f} (≤ {item['false_cases_per_year_upper']:,.0f})"
            for item in found
            if item["method"] == method
        }
        rows.append((f"`{method}`", *(cells[name] for name in families)))
    return ["", "## Cases a year where nobody diverts", "", *_table(("rule", *families), rows)]


def diverting(results: list[dict[str, Any]]) -> list[str]:
    """One table per family and coverage in which some divert."""
    lines = ["", "## Where 3 % of the dealers divert"]
    heads = ("rule", "false a year", "false share", "schemes found", "volume found", "nights", "top 20 right", "money")
    settings = dict.fromkeys((_name(item), item["coverage"]) for item in results if item["kind"] != "null")
    for family, coverage in settings:
        chosen = [item for item in results if (_name(item), item["coverage"]) == (family, coverage)]
        rows = [
            (
                f"`{item['method']}`",
                f"{item['false_cases_per_year']:,.0f}",
                _share(item["false_discovery_rate"]),
                _share(item["scheme_recall"]),
                _share(item["volume_recall"]),
                "–" if item["nights_to_filing"] is None else f"{item['nights_to_filing']:.0f}",
                _share(item["precision_of_top"]),
                _share(item["money_captured"]),
            )
            for item in chosen
        ]
        lines += ["", f"### {family}, {coverage:.0%} of units scanned", "", *_table(heads, rows)]
    return lines


def visible(rows: list[dict[str, Any]]) -> list[str]:
    """What of the schemes could be seen at all."""
    heads = ("family", "coverage", "scheme", "planted", "5 scans", "a shared carton", "3 shared cartons")
    cells = [
        (
            row["family"],
            f"{row['coverage']:.0%}",
            row["scheme"],
            str(row["schemes"]),
            *(f"{row[name]:.0%}" for name in ("five_scans", "shared_carton", "three_shared_cartons")),
        )
        for row in rows
    ]
    told = "Schemes of which, by the end, five units were scanned; two units of one carton; two units of three cartons each."
    return ["", "## What could be seen at all", "", told, "", *_table(heads, cells)]


def page(result: dict[str, Any]) -> str:
    """The text of docs/quality.md."""
    plan, machine = result["plan"], result["machine"]
    told = (
        f"{plan['dealers']:,} dealers, {len(plan['seeds'])} seeds of {plan['years_per_seed']} year each; taken in "
        f"{result['seconds']:,.0f} s on {machine['cores']} cores, Python {machine['python']}, numpy {machine['numpy']}, "
        f"scikit-learn {machine['scikit-learn']}."
    )
    results = result["results"]
    return (
        "\n".join([HEAD + "\n" + told, *nulls(results), *diverting(results), *visible(result["visible"])])
        + "\n"
        + LIMITS
    )


def main() -> None:
    text = page(json.loads(RESULT.read_text(encoding="utf-8")))
    (ROOT / "docs/quality.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
