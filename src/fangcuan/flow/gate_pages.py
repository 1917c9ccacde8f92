"""Gate results as pages to read: one per batch and an index, in English and Chinese, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal

from fangcuan.ingest.gate_report import render

_STYLE = (
    "body{font:15px/1.5 system-ui,'Noto Sans CJK SC',sans-serif;margin:2rem auto;max-width:90rem;padding:0 1rem;color:#1a1a1a}"
    "h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}.wide{overflow-x:auto}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:left}"
    "td{white-space:nowrap}td,th{vertical-align:top}td.why{white-space:normal;min-width:8rem}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}tr.bad td{background:#fdecec}"
)

_HEADS = (
    *(
        "night 日期",
        "rules 规则",
        "source 来源",
        "document 文件",
        "state 状态",
        "read 读取",
        "loaded 入库",
    ),
    *("duplicate 重复", "quarantined 隔离", "why 原因"),
)
_STATES = {"loaded": "入库", "duplicate": "重复", "held": "扣留", "refused": "拒收"}
#: Rows in quarantine that a page shows; `fangcuan quarantine export` has all.
SHOWN_ROWS = 50
_LANGUAGES: tuple[tuple[Literal["en", "zh"], str], ...] = (("en", "English"), ("zh", "中文"))


def write_pages(
    receipts: Sequence[Mapping[str, Any]],
    folder: Path,
    bad_rows: Callable[[str], Sequence[Mapping[str, Any]]] = lambda receipt_id: (),
) -> int:
    """Write a page per receipt that has gate results and `index.html` over all; gives the number of pages.

    `bad_rows` gives the quarantined rows of a receipt, {position, reasons}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    worth_a_look: list[str] = []
    pages = 0
    for receipt in receipts:
        links = "–"
        if receipt["gate"]:
            title = f"{receipt['source_id']} · {receipt['relation']} · {receipt['document_name']}"
            parts = []
            gate = receipt["gate"]
            shown_rows = bad_rows(receipt["receipt_id"])[:SHOWN_ROWS] if receipt["rows_quarantined"] else ()
            for language, shown in _LANGUAGES:
                name = f"{receipt['receipt_id'][:16]}.{language}.html"
                page = render(
                    gate,
                    title=title,
                    state=gate["verdict"],
                    held_for=gate["held_for"],
                    language=language,
                    bad_rows=shown_rows,
                )
                (folder / name).write_text(page, encoding="utf-8")
                parts.append(f'<a href="{name}">{shown}</a>')
                pages += 1
            links = " ".join(parts)
        bad = receipt["state"] in {"held", "refused"} or receipt["rows_quarantined"]
        cells = [escape(str(receipt[name])) for name in ("arrived_on", "source_id", "document_name")]
        cells[1] += f"<br><small>{escape(receipt['relation'])}</small>"
        cells.insert(1, links)
        cells.append(escape(f"{receipt['state']} {_STATES.get(receipt['state'], '')}"))
        counts = [f"{receipt[name]:,}" for name in ("rows_read", "rows_loaded", "rows_duplicate", "rows_quarantined")]
        line = (
            f"<tr{' class=bad' if bad else ''}>"
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "".join(f'<td class="n">{count}</td>' for count in counts)
            + f'<td class="why">{escape(receipt["message"] or "")}</td></tr>'
        )
        lines.append(line)
        if bad:
            worth_a_look.append(line)
    (folder / "index.html").write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Receipts 收据</title><style>{_STYLE}</style></head><body><h1>Receipts 收据</h1>"
        # The newest first: that is the night somebody asks about.
        + f"<h2>Held, refused or with rows in quarantine 扣留、拒收或有隔离行 ({len(worth_a_look)})</h2>"
        + _table(worth_a_look[::-1])
        + f"<h2>All 全部 ({len(lines)})</h2>{_table(lines[::-1])}</body></html>",
        encoding="utf-8",
    )
    return pages + 1


def _table(lines: Sequence[str]) -> str:
    if not lines:
        return "<p>none 无</p>"
    heads = "".join(f"<th>{head}</th>" for head in _HEADS)
    return f'<div class="wide"><table><tr>{heads}</tr>{"".join(lines)}</table></div>'
