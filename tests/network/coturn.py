"""coturn, a common TURN server: over UDP, TCP and TLS, on its own port and on that of HTTPS, with one user."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

PATIENCE = 30  # seconds
PORT, WEB_PORT = 3478, 443
USER, SECRET = "ferry", "hush-hush"
# coturn ends when this process does, in any way.
NEEDS_US = "setpriv", "--pdeathsig", "KILL"
OPENED = re.compile(r"(UDP|TCP) listener opened on ?: (\S+)")  # the output of -v


class Coturn:
    """Runs in the network where it is made until it is closed. Its files are in a folder."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.certificate = folder / "certificate.pem"  # self-signed, for the client to trust
        key = folder / "key.pem"
        _certify(address, self.certificate, key)
        self._said: list[str] = []
        self._awaited = {f"{how} {address}:{port}" for how in ("UDP", "TCP") for port in (PORT, WEB_PORT)}
        self._listens = threading.Event()
        self._process = subprocess.Popen(
            [*NEEDS_US, "turnserver", *_options(address, folder, self.certificate, key)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="coturn")
        self._reader.start()

    def url(self, transport: str, port: int = PORT, *, tls: bool = False) -> str:
        """The server's address for ``--ice-servers``, with user and secret."""
        scheme = "turns" if tls else "turn"
        return f"{scheme}:{USER}:{SECRET}@{self.address}:{port}?transport={transport}"

    def __enter__(self) -> Self:
        if not self._listens.wait(PATIENCE) or self._process.poll() is not None:
            self.__exit__()
            raise AssertionError(f"coturn does not run: {''.join(self._said)}")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self._process.stdout
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._said.append(line)
            self._awaited -= {" ".join(opened) for opened in OPENED.findall(line)}
            if not self._awaited:
                self._listens.set()
        # Also set at the end, when waiting is useless.
        self._listens.set()


def _options(address: str, folder: Path, certificate: Path, key: Path) -> list[str]:
    return [
        "-n",
        "-v",
        f"--listening-ip={address}",
        f"--relay-ip={address}",
        f"--listening-port={PORT}",
        f"--aux-server={address}:{WEB_PORT}",
        "--lt-cred-mech",
        f"--user={USER}:{SECRET}",
        "--realm=tests",
        f"--cert={certificate}",
        f"--pkey={key}",
        "--no-dtls",
        "--no-cli",
        "--relay-threads=1",
        f"--pidfile={folder / 'coturn.pid'}",
        f"--userdb={folder / 'coturn.db'}",
        "--log-file=stdout",
    ]


def _certify(address: str, certificate: Path, key: Path) -> None:
    """Write a self-signed certificate for an address, and its key."""
    own = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False
        )
        .sign(own, SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
