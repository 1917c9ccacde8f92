"""A timestamp authority of our own: openssl behind an HTTP server on 127.0.0.1, as any authority answers by RFC 3161 §3.4."""

from __future__ import annotations

import http.server
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CONFIG = """
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[tsa]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[authority]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
"""


@dataclass
class Authority:
    """`unsorted` sends certificates in an order that rfc3161-client refuses; `answer` replaces every answer."""

    folder: Path
    url: str = ""
    unsorted: bool = False
    answer: bytes | None = None
    status: int = 200
    asked: list[bytes] = field(default_factory=list)

    @property
    def roots(self) -> Path:
        return self.folder / "ca.pem"

    def stamp(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        chain = ["-chain", "ca.pem"] if self.unsorted else []
        self.openssl(
            *["ts", "-reply", "-config", "config", "-section", "authority", "-queryfile", "query"],
            *["-signer", "tsa.pem", "-inkey", "tsa.key", *chain, "-out", "reply"],
        )
        return (self.folder / "reply").read_bytes()

    def openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def running(folder: Path) -> Iterator[Authority]:
    authority = Authority(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config").write_text(CONFIG)
    (folder / "serial").write_text("01\n")
    new = ["-newkey", "rsa:2048", "-nodes", "-config", "config"]
    authority.openssl(
        *["req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Root", "-days", "9"],
        *["-extensions", "ca"],
    )
    authority.openssl("req", *new, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Authority")
    authority.openssl(
        *["x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "9"],
        *["-extfile", "config", "-extensions", "tsa", "-out", "tsa.pem"],
    )

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers["content-type"] == "application/timestamp-query"
            authority.asked.append(query)
            body = authority.answer if authority.answer is not None else authority.stamp(query)
            self.send_response(authority.status)
            self.send_header("content-type", "application/timestamp-reply")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    authority.url = f"http://127.0.0.1:{server.server_address[1]}/tsr"
    try:
        yield authority
    finally:
        server.shutdown()
        server.server_close()
