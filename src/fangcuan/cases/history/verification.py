"""`verify`: is the history what was once appended, what was once signed, and what the tables show?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from fangcuan.cases.history import notes, projection
from fangcuan.cases.history.chain import Walked, stream, walk
from fangcuan.cases.history.events import GENESIS
from fangcuan.cases.history.notes import Checkpoint, NoteError, UnknownKey, VerifierKey
from fangcuan.cases.history.problems import ExitCode, Problem, worst_first
from fangcuan.store import guards
from fangcuan.store.casework import checkpoint, event_head
from fangcuan.store.database import read

__all__ = ["ExitCode", "Given", "Problem", "Verification", "verify"]

CASEBOOK = "casebook"


@dataclass(frozen=True)
class Given:
    """A checkpoint kept outside the casebook: where it comes from, and its signed note."""

    source: str
    note: bytes


@dataclass(frozen=True)
class Verification:
    """`events` is the number of events whose link holds, `head` the hash of the last one of them (64 hex digits), `root`
    the Merkle root over them (32 bytes). `checkpoints` counts the signed ones that agree, `rows` the rows that were compared.

    `missing_guards` names triggers that should protect the history and are absent, switched off or replaced; that alone is
    no alteration, but says that someone prepared one.
    """

    exit_code: ExitCode
    first_bad_seq: int | None
    message: str
    events: int
    head: str
    missing_guards: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    checkpoints: int = 0
    rows: int = 0
    root: bytes = b""

    def as_record(self) -> dict[str, Any]:
        return {
            "exit_code": int(self.exit_code),
            "message": self.message,
            "events": self.events,
            "head": self.head,
            "root": self.root.hex(),
            "checkpoints": self.checkpoints,
            "rows": self.rows,
            "first_bad_seq": self.first_bad_seq,
            "missing_guards": list(self.missing_guards),
            "problems": [problem.as_record() for problem in self.problems],
        }


def verify(
    engine: Engine,
    *,
    keys: Iterable[VerifierKey] | None = None,
    given: Sequence[Given] = (),
    earlier: Sequence[Problem] = (),
    projected: bool = True,
) -> Verification:
    """Recompute the chain from the stored bytes and compare it with its head, with every checkpoint, and with the tables.

    `keys` are the public keys that are trusted; None compares the roots of stored checkpoints and no signatures. `given` are
    checkpoints from elsewhere, which need keys. `earlier` are problems that were met while gathering them. `projected`: also
    rebuild the tables from the events. Never raises for bad data.
    """
    try:
        with read(engine) as connection:
            if not {"event", "event_head"} <= set(inspect(connection).get_table_names()):
                return _cannot("there is no event table; run `fangcuan init` or check database_url")
            return _Verifier(connection, None if keys is None else tuple(keys), given, list(earlier)).run(projected)
    except (SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        return _cannot(f"the casebook cannot be read: {_first_line(cause)}")
    except _driver_error(engine) as error:
        return _cannot(f"the casebook cannot be read: {_first_line(error)}")


@dataclass
class _Verifier:
    connection: Connection
    keys: tuple[VerifierKey, ...] | None
    given: Sequence[Given]
    problems: list[Problem]
    #: (where it comes from, checkpoint) of every one whose signature holds.
    signed: list[tuple[str, Checkpoint]] = field(default_factory=list)

    def run(self, projected: bool) -> Verification:
        heads = [tuple(row) for row in self.connection.execute(select(event_head.c.seq, event_head.c.hash))]
        missing = guards.missing(self.connection)
        self._stored()
        self._from_elsewhere()
        with stream(self.connection) as rows:
            walked = walk(rows, {one.size for _, one in self.signed})
        self.problems += [walked.problem] if walked.problem else _head(walked, heads)
        agree = self._compare(walked)
        compared = 0
        if projected and walked.problem is None:
            compared, differences = projection.compare(self.connection)
            self.problems += differences
        return _result(walked, missing, self.problems, agree, compared)

    def _stored(self) -> None:
        """Checkpoints of the casebook itself: it holds what was signed, so a wrong signature there is an alteration."""
        if not inspect(self.connection).has_table(checkpoint.name):
            return
        columns = (checkpoint.c.size, checkpoint.c.root, checkpoint.c.origin, checkpoint.c.note)
        for row in self.connection.execute(select(*columns).order_by(checkpoint.c.size)):
            try:
                if self.keys is None:
                    text = str(row.note).rpartition("\n\n")[0] + "\n"
                    one = notes.parse_checkpoint(text)
                else:
                    one = notes.open_checkpoint(str(row.note).encode(), self.keys)
                if (one.size, one.root.hex(), one.origin) != (row.size, row.root, row.origin):
                    raise NoteError("size, root or origin beside the note are others")
            except UnknownKey as error:
                self.problems.append(Problem("unknown_key", {"source": f"{CASEBOOK} {row.size}", "why": str(error)}))
            except NoteError as error:
                self.problems.append(Problem("checkpoint_altered", {"size": row.size, "why": str(error)}))
            else:
                self.signed.append((CASEBOOK, one))

    def _from_elsewhere(self) -> None:
        for one in self.given:
            try:
                self.signed.append((one.source, notes.open_checkpoint(one.note, self.keys or ())))
            except NoteError as error:
                self.problems.append(Problem("unknown_key", {"source": one.source, "why": str(error)}))

    def _compare(self, walked: Walked) -> int:
        """Every signed root with the one the events give now; how many agree."""
        agree = after = 0
        for source, one in sorted(self.signed, key=lambda item: item[1].size):
            found = walked.roots.get(one.size)
            if found == one.root:
                agree, after = agree + 1, one.size
            elif found is not None:
                what = {"source": source, "size": one.size, "after": after + 1}
                self.problems.append(Problem("rewritten", what, seq=after + 1))
            elif walked.problem is None:
                lost = {"source": source, "size": one.size, "events": walked.events}
                self.problems.append(Problem("rolled_back", lost, seq=walked.events + 1))
        return agree


def _head(walked: Walked, heads: list[tuple[Any, ...]]) -> list[Problem]:
    if len(heads) != 1:
        return [Problem("head_rows", {"rows": len(heads)}, seq=walked.events + 1)]
    head_seq, head_hash = heads[0]
    if type(head_seq) is not int:
        return [Problem("cut_off", {"events": walked.events, "head": head_seq}, seq=walked.events + 1)]
    if head_seq != walked.events:
        kind = "cut_off" if head_seq > walked.events else "head_behind"
        seq = min(head_seq, walked.events) + 1
        return [Problem(kind, {"events": walked.events, "head": head_seq}, seq=seq)]
    if head_hash != walked.head:
        return [Problem("head_hash", seq=walked.events or 1)]
    return []


def _result(
    walked: Walked, missing: tuple[str, ...], problems: list[Problem], agree: int, compared: int
) -> Verification:
    ordered = worst_first(problems)
    if ordered:
        message = ordered[0].text()
        if len(ordered) > 1:
            message += f" (and {len(ordered) - 1} more)"
    else:
        message = f"{walked.events} events, head {walked.head}"
        message += f"; {agree} checkpoints agree" if agree else "; no checkpoint to compare with"
    if missing:
        message += f"; guards missing or off: {', '.join(missing)}"
    return Verification(
        exit_code=ordered[0].code if ordered else ExitCode.OK,
        first_bad_seq=ordered[0].seq if ordered else None,
        message=message,
        events=walked.events,
        head=walked.head,
        missing_guards=missing,
        problems=tuple(ordered),
        checkpoints=agree,
        rows=compared,
        root=walked.roots.get(walked.events, b""),
    )


def _cannot(message: str) -> Verification:
    problem = Problem("unreadable", {"why": message})
    return Verification(ExitCode.CANNOT_VERIFY, None, message, 0, GENESIS, problems=(problem,))


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _driver_error(engine: Engine) -> type[BaseException]:
    return engine.dialect.loaded_dbapi.Error
