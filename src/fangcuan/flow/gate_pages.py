"""Gate results as pages to read: one per batch and an index, in English and Chinese, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal

from fangcuan.ingest.gate_report import render

_STYLE = (
    "body{font:15px/1.5 system-ui,'Noto Sans CJK SC',sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}tr.bad td{background:#fdecec}"
)

_HEADS = (
    *("night 日期", "source 来源", "relation 关系", "document 文件", "state 状态", "read 读取", "loaded 入库"),
    *("duplicate 重复", "quarantined 隔离", "why 原因", "rules 规则"),
)
_LANGUAGES: tuple[tuple[Literal["en", "zh"], str], ...] = (("en", "English"), ("zh", "中文"))


def write_pages(receipts: Sequence[Mapping[str, Any]], folder: Path) -> int:
    """Write a page per receipt that has gate results and `index.html` over all; gives the number of pages."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    pages = 0
    for receipt in receipts:
        links = "–"
        if receipt["gate"]:
            title = f"{receipt['source_id']} · {receipt['relation']} · {receipt['document_name']}"
            parts = []
            for language, shown in _LANGUAGES:
                name = f"{receipt['receipt_id'][:16]}.{language}.html"
                gate = receipt["gate"]
                page = render(gate, title=title, state=gate["verdict"], held_for=gate["held_for"], language=language)
                (folder / name).write_text(page, encoding="utf-8")
                parts.append(f'<a href="{name}">{shown}</a>')
                pages += 1
            links = " ".join(parts)
        bad = receipt["state"] in {"held", "refused"} or receipt["rows_quarantined"]
        cells = [
            escape(str(receipt[name])) for name in ("arrived_on", "source_id", "relation", "document_name", "state")
        ]
        counts = [f"{receipt[name]:,}" for name in ("rows_read", "rows_loaded", "rows_duplicate", "rows_quarantined")]
        lines.append(
            f"<tr{' class=bad' if bad else ''}>"
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "".join(f'<td class="n">{count}</td>' for count in counts)
            + f"<td>{escape(receipt['message'] or '')}</td><td>{links}</td></tr>"
        )
    (folder / "index.html").write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Receipts 收据</title><style>{_STYLE}</style></head><body><h1>Receipts 收据</h1><table><tr>"
        + "".join(f"<th>{head}</th>" for head in _HEADS)
        + "</tr>"
        + "".join(lines)
        + "</table></body></html>",
        encoding="utf-8",
    )
    return pages + 1
