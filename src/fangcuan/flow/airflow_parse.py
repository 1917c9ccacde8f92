"""How long the DAG files take to parse, as a ratio to the import of `airflow.sdk` that every DAG file pays anyway."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

#: The yardstick: one import in a fresh interpreter.
YARDSTICK = "import airflow.sdk"
#: The same, then every DAG file.
PARSE = YARDSTICK + "\nimport json, os, runpy\nfor path in json.loads(os.environ['DAG_FILES']): runpy.run_path(path)"


def parse_ratio(dags: Path, rounds: int = 5) -> dict[str, Any]:
    """Median processor seconds of both programs, taken in turns after one warm-up, and their ratio.

    Returns {"yardstick", "yardstick_seconds", "parse_seconds", "ratio", "files", "rounds"}. Processor time, not the clock:
    others may be using the machine.
    """
    files = sorted(str(path) for path in dags.glob("*.py"))
    seconds: dict[str, list[float]] = {YARDSTICK: [], PARSE: []}
    with TemporaryDirectory(prefix="fangcuan-parse-") as home:
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env |= {"AIRFLOW_HOME": home, "PYTHONPYCACHEPREFIX": f"{home}/bytecode", "DAG_FILES": json.dumps(files)}
        for attempt in range(rounds + 1):
            for program, taken in seconds.items():
                before = _children()
                subprocess.run(
                    [sys.executable, "-W", "ignore", "-c", program], env=env, check=True, capture_output=True
                )
                if attempt:
                    taken.append(_children() - before)
    yardstick, parse = (statistics.median(seconds[program]) for program in (YARDSTICK, PARSE))
    return {
        "yardstick": YARDSTICK,
        "yardstick_seconds": round(yardstick, 3),
        "parse_seconds": round(parse, 3),
        "ratio": round(parse / yardstick, 3),
        "files": len(files),
        "rounds": rounds,
    }


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
