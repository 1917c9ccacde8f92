"""Places a checkpoint goes to, so that it survives whoever owns the database: folder, git folder, bucket, mail.

A place is named by one text:

* `/mnt/anchors` or `file:///mnt/anchors`: a folder, best one that another machine or another person owns;
* `git+file:///srv/anchors`: a git working tree; each checkpoint is a commit, pushed where the branch has a remote;
* `s3://bucket/prefix` or any other URL of fsspec: a bucket, best one with object lock;
* `mailto:auditor@example.com`: a mail with the checkpoint attached.

Nothing is ever replaced: a place that already holds another checkpoint of the same size is a fork, and is told.
"""

from __future__ import annotations

import os
import re
import smtplib
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import make_msgid
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

SUFFIX = ".checkpoint"
TOKEN_SUFFIX = ".tsr"
TIMEOUT_SECONDS = 60


class PlaceFailed(Exception):
    """The place could not be reached or read; the message says why. Trying again later may help."""


class PlaceConflict(PlaceFailed):
    """The place holds something else under this name: two histories have been signed."""


class Place(Protocol):
    """`put` gives a receipt (path, URL, commit, message id); `read` all checkpoints by file name, or None where a place
    cannot be read back.
    """

    @property
    def kind(self) -> str: ...

    def put(self, name: str, contents: dict[str, bytes]) -> str: ...

    def read(self) -> dict[str, bytes] | None: ...


@dataclass(frozen=True)
class Mailer:
    """How mail leaves: `url` is `smtp://host:port` (`smtps://`, or `smtp+starttls://`), with a user in it where one is needed."""

    url: str = ""
    sender: str = ""
    password: str | None = None


def open_place(text: str, mailer: Mailer) -> Place:
    """The place that a setting names. Raises ValueError for one that is none, or that carries a password."""
    parts = urlsplit(text)
    if parts.password:
        raise ValueError(f"audit_places: {parts.scheme}://… holds a password; use the environment of its client")
    if parts.scheme in {"", "file"}:
        return FolderPlace(Path(parts.path if parts.scheme else text))
    if parts.scheme == "git+file":
        return GitPlace(Path(parts.path))
    if parts.scheme == "mailto":
        if not mailer.url or not mailer.sender:
            raise ValueError(f"audit_places: {text} needs audit_smtp and audit_mail_from")
        return MailPlace(parts.path, mailer)
    return BucketPlace(text)


def file_name(origin: str, size: int) -> str:
    """`example.com_fangcuan-000000000123`; sorts by size, and tells histories in one place apart."""
    return f"{re.sub(r'[^A-Za-z0-9.-]', '_', origin)}-{size:012d}"


@dataclass(frozen=True)
class FolderPlace:
    folder: Path
    kind: str = "folder"

    def put(self, name: str, contents: dict[str, bytes]) -> str:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # The checkpoint comes last: what is read back is complete.
            for suffix in sorted(contents, key=lambda suffix: suffix == SUFFIX):
                _place_file(self.folder / (name + suffix), contents[suffix])
        except OSError as error:
            raise PlaceFailed(f"{self.folder}: {error.strerror or error}") from error
        return str(self.folder / (name + SUFFIX))

    def read(self) -> dict[str, bytes] | None:
        try:
            if not self.folder.is_dir():
                raise PlaceFailed(f"{self.folder}: no such folder")
            return {path.name: path.read_bytes() for path in sorted(self.folder.glob(f"*{SUFFIX}"))}
        except OSError as error:
            raise PlaceFailed(f"{self.folder}: {error.strerror or error}") from error


@dataclass(frozen=True)
class GitPlace:
    folder: Path
    kind: str = "git"

    def put(self, name: str, contents: dict[str, bytes]) -> str:
        if not (self.folder / ".git").exists():
            raise PlaceFailed(f"{self.folder}: not a git working tree")
        FolderPlace(self.folder).put(name, contents)
        files = [name + suffix for suffix in contents]
        self._git("add", "--", *files)
        if self._git("status", "--porcelain", "--", *files):
            self._git("commit", "--quiet", "--message", f"Checkpoint {name}", "--", *files)
        if self._git("remote"):
            self._git("push", "--quiet")
        return self._git("rev-list", "-1", "HEAD", "--", name + SUFFIX)

    def read(self) -> dict[str, bytes] | None:
        """From the last commit: what was only written beside it is no anchor."""
        names = self._git("ls-tree", "--name-only", "HEAD").splitlines()
        return {
            name: self._run("show", f"HEAD:{name}")
            for name in names
            if name.endswith(SUFFIX) and not name.startswith('"')
        }

    def _git(self, *arguments: str) -> str:
        return self._run(*arguments).decode("utf-8", "replace").strip()

    def _run(self, *arguments: str) -> bytes:
        identity = ("-c", "user.name=fangcuan", "-c", "user.email=fangcuan@localhost", "-c", "commit.gpgsign=false")
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                ["git", *identity, *arguments],
                cwd=self.folder,
                env=environment,
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PlaceFailed(f"{self.folder}: git {arguments[0]}: {error}") from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise PlaceFailed(f"{self.folder}: git {arguments[0]}: {said[-1] if said else done.returncode}")
        return done.stdout


@dataclass(frozen=True)
class BucketPlace:
    url: str
    kind: str = "bucket"

    def put(self, name: str, contents: dict[str, bytes]) -> str:
        system, root = self._open()
        path = ""
        for suffix in sorted(contents, key=lambda suffix: suffix == SUFFIX):
            path = f"{root.rstrip('/')}/{name}{suffix}"
            try:
                if system.exists(path):
                    if system.cat_file(path) != contents[suffix]:
                        raise PlaceConflict(f"{self.url}: {name}{suffix} is there with other content")
                    continue
                system.makedirs(root, exist_ok=True)
                system.pipe_file(path, contents[suffix])
            except PlaceFailed:
                raise
            except Exception as error:  # Every client of fsspec raises its own.
                raise PlaceFailed(f"{self.url}: {type(error).__name__}: {error}") from error
        return str(system.unstrip_protocol(path))

    def read(self) -> dict[str, bytes] | None:
        system, root = self._open()
        try:
            system.invalidate_cache()
            paths = sorted(path for path in system.ls(root, detail=False) if path.endswith(SUFFIX))
            return {path.rsplit("/", 1)[1]: system.cat_file(path) for path in paths}
        except Exception as error:
            raise PlaceFailed(f"{self.url}: {type(error).__name__}: {error}") from error

    def _open(self) -> tuple[Any, str]:
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise PlaceFailed(f"{self.url}: {error}") from error
        return system, str(root)


@dataclass(frozen=True)
class MailPlace:
    """Cannot be read back: whoever got the mail gives it to `audit verify --checkpoint`."""

    recipient: str
    mailer: Mailer
    kind: str = "mail"

    def put(self, name: str, contents: dict[str, bytes]) -> str:
        message = EmailMessage()
        message["From"], message["To"] = self.mailer.sender, self.recipient
        message["Subject"] = f"Checkpoint {name}"
        message["Message-ID"] = make_msgid("fangcuan", self.mailer.sender.rpartition("@")[2] or None)
        message.set_content(
            "Please keep this mail. The attached checkpoint fixes the history of the casebook as it was; with it\n"
            "`fangcuan audit verify --checkpoint FILE` shows whether that history was rewritten since.\n\n"
            "请保存此邮件。所附检查点固定了案卷库当时的历史；凭它可以核验此后历史是否被改写。\n"
        )
        for suffix, data in sorted(contents.items()):
            message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name + suffix)
        parts = urlsplit(self.mailer.url)
        try:
            with self._connect(parts.scheme, parts.hostname or "", parts.port or 0) as server:
                if parts.username and self.mailer.password:
                    server.login(parts.username, self.mailer.password)
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise PlaceFailed(f"{self.recipient}: mail cannot be sent: {error}") from error
        return str(message["Message-ID"])

    def read(self) -> dict[str, bytes] | None:
        return None

    def _connect(self, scheme: str, host: str, port: int) -> smtplib.SMTP:
        if scheme == "smtps":
            return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS)
        server = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
        if scheme == "smtp+starttls":
            import ssl

            server.starttls(context=ssl.create_default_context())
        return server


def _place_file(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".incoming-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o444)
            os.fsync(file.fileno())
        try:
            # A link refuses to replace what is there; a rename would do it silently.
            os.link(name, path)
        except FileExistsError:
            if path.read_bytes() != data:
                raise PlaceConflict(f"{path}: is there with other content") from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
