"""What `audit verify` can find: exit codes, and each finding as a sentence in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of `fangcuan audit verify`."""

    OK = 0
    ALTERED = 1
    TRUNCATED = 2
    REWRITTEN = 3
    PROJECTION = 4
    CANNOT_VERIFY = 5


#: kind → (code, English, Chinese). A kind's name is stable; texts may be worded anew.
KINDS: dict[str, tuple[ExitCode, str, str]] = {
    "event_missing": (ExitCode.ALTERED, "event {seq} is missing", "第 {seq} 条事件缺失"),
    "event_out_of_order": (ExitCode.ALTERED, "event {seq} is out of order", "第 {seq} 条事件次序不对"),
    "event_unlinked": (
        ExitCode.ALTERED,
        "event {seq} does not link to the one before it",
        "第 {seq} 条事件与前一条不相连",
    ),
    "event_no_text": (ExitCode.ALTERED, "the body of event {seq} is not text", "第 {seq} 条事件的正文不是文本"),
    "event_altered": (ExitCode.ALTERED, "event {seq} is not what its hash says", "第 {seq} 条事件与其哈希不符"),
    "checkpoint_altered": (
        ExitCode.ALTERED,
        "the checkpoint of {size} events in the casebook is not what was signed: {why}",
        "案卷库中覆盖 {size} 条事件的检查点与签名内容不符：{why}",
    ),
    "timestamp_altered": (
        ExitCode.ALTERED,
        "the timestamp of {place} for the checkpoint of {size} events does not hold: {why}",
        "{place} 对覆盖 {size} 条事件的检查点所出的时间戳不成立：{why}",
    ),
    "head_rows": (
        ExitCode.TRUNCATED,
        "event_head has {rows} rows instead of one",
        "event_head 有 {rows} 行，应为一行",
    ),
    "cut_off": (
        ExitCode.TRUNCATED,
        "events are cut off after {events}: the head says {head}",
        "事件在第 {events} 条之后被截断：链头记为 {head}",
    ),
    "head_behind": (
        ExitCode.TRUNCATED,
        "the head was rolled back behind {events}: the head says {head}",
        "链头被退回到第 {events} 条之前：链头记为 {head}",
    ),
    "head_hash": (
        ExitCode.TRUNCATED,
        "the head's hash is not the last event's",
        "链头的哈希不是最后一条事件的哈希",
    ),
    "rolled_back": (
        ExitCode.TRUNCATED,
        "{source}: a signed checkpoint covers {size} events and only {events} are left",
        "{source}：已签名的检查点覆盖 {size} 条事件，现只剩 {events} 条",
    ),
    "rewritten": (
        ExitCode.REWRITTEN,
        "{source}: the first {size} events are not those that were signed; they were rewritten between {after} and {size}",
        "{source}：前 {size} 条事件不是当时签名的内容；改写发生在第 {after} 条至第 {size} 条之间",
    ),
    "row_differs": (
        ExitCode.PROJECTION,
        "{table} {row}: {field} is {found}, the events say {expected}",
        "{table} {row}：{field} 为 {found}，事件记录为 {expected}",
    ),
    "row_missing": (
        ExitCode.PROJECTION,
        "{table} {row}: the events say that it is there, and it is not",
        "{table} {row}：事件记录其存在，表中却没有",
    ),
    "row_invented": (
        ExitCode.PROJECTION,
        "{table} {row}: no event says so",
        "{table} {row}：没有任何事件记录它",
    ),
    "event_unreadable": (
        ExitCode.CANNOT_VERIFY,
        "event {seq} cannot be replayed: {why}",
        "第 {seq} 条事件无法重放：{why}",
    ),
    "unreadable": (ExitCode.CANNOT_VERIFY, "{why}", "无法核验：{why}"),
    "unknown_key": (
        ExitCode.CANNOT_VERIFY,
        "{source}: the checkpoint cannot be verified: {why}",
        "{source}：检查点无法核验：{why}",
    ),
    "place_unreadable": (
        ExitCode.CANNOT_VERIFY,
        "{source}: cannot be read: {why}",
        "{source}：无法读取：{why}",
    ),
    "anchor_gone": (
        ExitCode.CANNOT_VERIFY,
        "{source}: the checkpoint of {size} events went there and is gone",
        "{source}：覆盖 {size} 条事件的检查点曾送达此处，现已不见",
    ),
}

#: Which code speaks where several findings differ: an altered event before everything that follows from it.
_ORDER = (
    ExitCode.ALTERED,
    ExitCode.REWRITTEN,
    ExitCode.TRUNCATED,
    ExitCode.PROJECTION,
    ExitCode.CANNOT_VERIFY,
)


@dataclass(frozen=True)
class Problem:
    """One finding. `seq` is the first event that is wrong, `case` and `field` what differs, where there is such a thing."""

    kind: str
    params: Mapping[str, Any] = field(default_factory=dict)
    seq: int | None = None
    case: str | None = None
    field: str | None = None

    @property
    def code(self) -> ExitCode:
        return KINDS[self.kind][0]

    def text(self, language: str = "en") -> str:
        """The sentence in `en` or `zh`."""
        _, english, chinese = KINDS[self.kind]
        return (english if language == "en" else chinese).format(**self.params)

    def as_record(self) -> dict[str, Any]:
        return {
            "code": int(self.code),
            "kind": self.kind,
            "seq": self.seq,
            "case": self.case,
            "field": self.field,
            "en": self.text("en"),
            "zh": self.text("zh"),
        }


def worst_first(problems: list[Problem]) -> list[Problem]:
    """Problems with the one that decides the exit code first; otherwise in the order they were found."""
    return sorted(problems, key=lambda problem: _ORDER.index(problem.code))
