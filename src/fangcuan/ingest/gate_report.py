"""A gate's result as one readable HTML page: no scripts, no external resources, every value escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

Language = Literal["en", "zh"]

_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Gate result", "质检结果"),
    "passed": ("passed", "通过"),
    "held": ("held", "扣留"),
    "refused": ("refused", "拒收"),
    "rows": ("Rows read", "读取行数"),
    "good": ("Good rows", "合格行"),
    "quarantined": ("Quarantined rows", "隔离行"),
    "skipped": ("Skipped by `where`", "被 where 跳过的行"),
    "oldest": ("Oldest event", "最早事件"),
    "newest": ("Newest event", "最新事件"),
    "held_for": ("Held because", "扣留原因"),
    "reasons": ("Quarantined by reason", "按原因统计的隔离行"),
    "reason": ("Reason", "原因"),
    "column": ("Column", "列"),
    "number": ("Rows", "行数"),
    "rules": ("Rules", "规则"),
    "expected": ("Expected", "期望"),
    "looked_at": ("Looked at", "检查行数"),
    "broken": ("Broken", "违反行数"),
    "examples": ("Examples", "示例"),
    "bad_rows": ("Rows in quarantine", "隔离的行"),
    "position": ("Where in the source", "来源位置"),
    "value": ("Value", "值"),
    "first": ("the first {count} of {total}", "共 {total} 行，显示前 {count} 行"),
    "unchecked": ("Not checked: nothing to compare with", "未检查：缺少可比对的数据"),
    "none": ("none", "无"),
    "missing": ("value is given", "必填"),
    "not_in_vocabulary": ("value is of the vocabulary", "取值在词表内"),
    "out_of_range": ("value is in its range", "取值在范围内"),
    "pattern": ("value matches the pattern", "格式匹配"),
    "unknown_reference": ("value is known", "引用存在"),
    "in_the_future": ("time is not in the future", "时间不在未来"),
}

#: Reason codes as they are shown where a row broke a rule.
_REASONS: dict[str, tuple[str, str]] = {
    "missing": ("mandatory value missing", "缺少必填值"),
    "not_in_vocabulary": ("not in the vocabulary", "不在词表内"),
    "out_of_range": ("out of range", "超出范围"),
    "pattern": ("does not match the pattern", "格式不符"),
    "unknown_reference": ("unknown reference", "引用不存在"),
    "in_the_future": ("in the future", "时间在未来"),
    "unparseable": ("cannot be parsed", "无法解析"),
    "mapping_failed": ("the source's expression failed", "映射表达式出错"),
    "wrong_number_of_fields": ("wrong number of fields", "字段数不符"),
    "spreadsheet_error": ("error in a spreadsheet cell", "单元格错误"),
}

#: What a rule expects, by its first words, as they stand in a receipt.
_EXPECTED_ZH = (
    ("a value of ", "见于 "),
    ("a value", "有值"),
    ("one of ", "之一："),
    ("at least ", "不小于 "),
    ("at most ", "不大于 "),
    ("before ", "早于 "),
    ("text like ", "格式："),
    ("a number in plain digits, at most 14 before and 4 after the point", "普通数字，小数点前至多 14 位、后至多 4 位"),
    ("a number in plain digits, at most 10 before and 8 after the point", "普通数字，小数点前至多 10 位、后至多 8 位"),
    ("a whole number in plain digits", "普通整数"),
    ("ISO 8601 time with zone", "带时区的 ISO 8601 时间"),
    ("ISO 8601 date", "ISO 8601 日期"),
    ("true, false, yes, no", "是或否（true, false, yes, no, 1, 0）"),
)

#: A moment as it is kept: in UTC, mostly without a fraction.
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.0+)?(?:Z|\+00:00)")

_STYLE = """
body{font:15px/1.5 system-ui,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif;margin:2rem auto;max-width:70rem;
padding:0 1rem;color:#1a1a1a;background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid #d5d5d5;padding:.35rem .6rem;text-align:left;
vertical-align:top;max-width:26rem;overflow-wrap:break-word}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
h1 small{display:block;font-size:.6em;font-weight:normal;color:#555;overflow-wrap:anywhere}
table.pairs{width:auto}table.pairs th{font-weight:normal;color:#555}
.state{padding:.1rem .6rem;border-radius:.3rem;color:#fff;background:#1b6e3c}.state.bad{background:#a11717}
.state.part{background:#8a5a00}
@media(max-width:45rem){body{margin:1rem auto}table.rows thead{display:none}table.rows tr{display:block;padding:.4rem 0;
border-bottom:1px solid #d5d5d5}table.rows td,table.rows td.n{display:grid;grid-template-columns:7.5rem 1fr;gap:.6rem;border:0;
padding:.1rem .4rem;max-width:none;
overflow-wrap:anywhere;text-align:left;white-space:normal}table.rows td:empty{display:none}
table.rows td::before{content:attr(data-head);color:#555}}
tr.broken td{background:#fdecec}code{background:#f2f2f2;padding:0 .25rem;border-radius:.2rem}
"""


def render(
    summary: Mapping[str, Any],
    *,
    title: str,
    state: str,
    held_for: list[dict[str, str]] | tuple[dict[str, str], ...] = (),
    language: Language = "en",
    bad_rows: Sequence[Mapping[str, Any]] = (),
) -> str:
    """HTML of a `Statistics.summary()`. `title` names the batch; `state` is passed, held or refused; `bad_rows` are rows in
    quarantine ({position, reasons}) to be shown with it."""
    said = {key: words[language == "zh"] for key, words in _WORDS.items()}
    parts = [
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing may be loaded or run, whatever the data says.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{escape(said['title'])}: {escape(title)}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{escape(said['title'])} {_state(state, summary.get('quarantined') or 0, said)}<small>{escape(title)}</small></h1>",
    ]
    if held_for:
        items = "".join(
            f"<li>{escape(item['message'])} <code>{escape(item['reason'])}</code></li>" for item in held_for
        )
        parts.append(f"<h2>{escape(said['held_for'])}</h2><ul>{items}</ul>")
    keys = ("rows", "good", "quarantined", "skipped", "oldest", "newest")
    cells = [(said[key], _shown(summary.get(key))) for key in keys]
    parts.append(_table([], cells))
    total = summary.get("quarantined") or 0
    if bad_rows:
        first = f" ({said['first'].format(count=len(bad_rows), total=total)})" if len(bad_rows) < total else ""
        parts.append(f"<h2>{escape(said['bad_rows'] + first)}</h2>{_bad_rows(bad_rows, said, language)}")
    parts.append(f"<h2>{escape(said['reasons'])}</h2>{_reasons(summary.get('reasons') or {}, said, language)}")
    parts.append(f"<h2>{escape(said['rules'])}</h2>{_rules(summary.get('rules') or [], said, language)}")
    unchecked = summary.get("unchecked") or []
    if unchecked:
        items = "".join(f"<li><code>{escape(str(item))}</code></li>" for item in unchecked)
        parts.append(f"<h2>{escape(said['unchecked'])}</h2><ul>{items}</ul>")
    parts.append("</main></body></html>")
    return "".join(parts)


def _state(state: str, quarantined: int, said: Mapping[str, str]) -> str:
    kind = "state" if state == "passed" else "state bad"
    shown = f'<span class="{kind}">{escape(said.get(state, state))}</span>'
    # A batch passes while single rows do not: both have to be seen at a glance.
    if state == "passed" and quarantined:
        shown += f' <span class="state part">{escape(said["quarantined"])} {_shown(quarantined)}</span>'
    return shown


def _reasons(reasons: Mapping[str, int], said: Mapping[str, str], language: Language) -> str:
    if not reasons:
        return f"<p>{escape(said['none'])}</p>"
    rows = []
    for key, number in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        code, _, column = key.partition(":")
        words = _REASONS.get(code, (code, code))[language == "zh"]
        rows.append((words, column, _shown(number)))
    return _table([said["reason"], said["column"], said["number"]], rows, numbers={2})


def _bad_rows(bad_rows: Sequence[Mapping[str, Any]], said: Mapping[str, str], language: Language) -> str:
    rows = []
    for row in bad_rows:
        for reason in row["reasons"]:
            words = _REASONS.get(str(reason["reason"]), (str(reason["reason"]),) * 2)[language == "zh"]
            value = reason.get("value")
            rows.append(
                (
                    str(row["position"]),
                    str(reason.get("column") or ""),
                    words,
                    _shown(None if value is None else str(value)),
                    _expected(str(reason.get("expected") or ""), language),
                )
            )
    return _table([said[key] for key in ("position", "column", "reason", "value", "expected")], rows)


def _expected(text: str, language: Language) -> str:
    if language == "zh":
        for words, translated in _EXPECTED_ZH:
            if text.startswith(words):
                text = translated + text.removeprefix(words) if words.endswith(" ") else translated
                break
    return _shown(text)


def _rules(rules: list[Mapping[str, Any]], said: Mapping[str, str], language: Language) -> str:
    if not rules:
        return f"<p>{escape(said['none'])}</p>"
    rules = sorted(rules, key=lambda rule: -rule["broken"])
    rows = [
        (
            str(rule["column"]),
            said.get(str(rule["kind"]), str(rule["kind"])),
            _expected(str(rule["expected"]), language),
            _shown(rule["looked_at"]),
            _shown(rule["broken"]),
            ", ".join(_shown(str(example)) for example in rule["examples"]),
        )
        for rule in rules
    ]
    heads = [said[key] for key in ("column", "rules", "expected", "looked_at", "broken", "examples")]
    marked = {at for at, rule in enumerate(rules) if rule["broken"]}
    return _table(heads, rows, numbers={3, 4}, marked=marked)


def _table(
    heads: list[str],
    rows: Sequence[tuple[str, ...]],
    *,
    numbers: set[int] | None = None,
    marked: set[int] | None = None,
) -> str:
    def cell(tag: str, at: int, text: str) -> str:
        kind = ' class="n"' if at in (numbers or set()) else ""
        # On a narrow screen a row becomes a list, and each value needs its heading beside it.
        kind += f' data-head="{escape(heads[at])}"' if heads and tag == "td" else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    def line(at: int, row: tuple[str, ...]) -> str:
        kind = ' class="broken"' if at in (marked or set()) else ""
        cells = (cell("th" if not heads and where == 0 else "td", where, text) for where, text in enumerate(row))
        return f"<tr{kind}>{''.join(cells)}</tr>"

    head = "".join(cell("th", at, text) for at, text in enumerate(heads))
    body = "".join(line(at, row) for at, row in enumerate(rows))
    shape = "rows" if heads else "pairs"
    return f"<table class={shape}>{f'<thead><tr>{head}</tr></thead>' if heads else ''}<tbody>{body}</tbody></table>"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return _MOMENT.sub(r"\1 \2 UTC", str(value))
