"""Passwords, certificates and rights for a cluster that is to refuse some clients."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.kafka.release import KafkaError

BROKER, CLIENT, EXPIRED, STRANGER = "broker", "client", "expired", "stranger"
VALID_DAYS: Final = {BROKER: "2", CLIENT: "2", EXPIRED: "-1", STRANGER: "2"}
NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Security:
    """A SASL_SSL listener and one for clients with a certificate on each node, and an authorizer.

    The first takes SCRAM-SHA-512 and OAUTHBEARER, whose tokens need no signature.

    users: name to password. presents: the certificate that nodes show: "broker", or "expired" for clients to refuse.
    Clients of the plain listener may do anything, everybody else what `Cluster.allow` lets them do.

    The folder `Cluster.certificates` has ca.pem and, each a key with its certificate for 127.0.0.1, broker.pem,
    client.pem (its user is "CN=client"), expired.pem, which ended yesterday, and stranger.pem of another authority.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    presents: str = BROKER

    def properties(self, certificates: Path) -> dict[str, str | int]:
        """What the nodes' settings need for it; make the certificates first."""
        return {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # who has come in by the plain listener, nodes among them
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
            # Tokens that nobody has signed are taken for what they say, as Kafka does for tests.
            "listener.name.scram.oauthbearer.sasl.jaas.config": (
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"
            ),
            "listener.name.scram.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.mtls.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(certificates / f"{self.presents}.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(certificates / "ca.pem"),
        }

    def format_options(self) -> list[str]:
        """Options of StorageTool that make the users."""
        users = (f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in self.users.items())
        return [option for user in users for option in ("--add-scram", user)]


def make_certificates(folder: Path) -> None:
    """Fill the folder, which is made. Raises KafkaError where openssl is missing or fails."""
    if shutil.which("openssl") is None:
        raise KafkaError("openssl is missing: install it (on Debian, apt-get install openssl)")
    folder.mkdir()
    for authority in ("ca", "other-ca"):
        _openssl(
            folder, "req", "-x509", *NEW_KEY, "-days", "2", "-subj", f"/CN={authority}",
            "-keyout", f"{authority}.key", "-out", f"{authority}.pem",
        )  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name, days in VALID_DAYS.items():
        authority = "other-ca" if name == STRANGER else "ca"
        _openssl(folder, "req", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        _openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", days, "-extfile", "names", "-out", f"{name}.crt",
        )  # fmt: skip
        both = folder / f"{name}.pem"
        both.touch(0o600)
        both.write_bytes((folder / f"{name}.key").read_bytes() + (folder / f"{name}.crt").read_bytes())


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KafkaError(f"openssl {arguments[0]} failed: {done.stderr}")
