"""The configuration: one TOML file, overridden by `TRIPLINE_*` variables, checked once, every mistake told at once.

A variable's name is the field's in capitals; a field of a table follows two underscores:
`TRIPLINE_ALERTS_PER_DAY_MAX=3`, `TRIPLINE_ENTITIES_MAX__ACCOUNT=40000000`, `TRIPLINE_DETECTORS__VOLUME=false`.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
import orjson
from msgspec import Meta

from stream.enrich import settings as enrich
from stream.enrich.settings import Enrich
from stream.errors import UsageError
from stream.secret import secret
from stream.sensitivity import Sensitivity
from stream.settings import checked_subscribers, checked_table, nearest, wanted

PREFIX: Final = "TRIPLINE_"
FILE_BYTES_MAX: Final = 1 << 20
Kind = Literal[
    "account", "credential", "issuer", "source", "network", "client", "resource", "subject", "group"
]  # fmt: skip
Entities = Annotated[int, Meta(ge=1, le=200_000_000)]


class EntitiesMax(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many entities of each kind are kept, 1 to 200,000,000; beyond, the least evidence is forgotten first."""

    account: Entities = 2_000_000
    credential: Entities = 2_000_000
    issuer: Entities = 4_096
    source: Entities = 1_000_000
    network: Entities = 262_144
    client: Entities = 65_536
    resource: Entities = 65_536


Text = Annotated[str, Meta(max_length=2_048)]
Names = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=10_000)]


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of what was planted, as the log has them, and the accounts that may read it. At most 10,000 of each."""

    objects: Names = ()
    subjects: Names = ()
    resources: Names = ()
    exempt_accounts: Names = ()


Topic = Annotated[str, Meta(pattern="^[a-zA-Z0-9._-]{1,249}$")]


class Kafka(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where `tripline worker` and `tripline respond` read and write; secrets are named by file, never written here."""

    bootstrap_servers: Text = "127.0.0.1:9092"
    topics: Annotated[tuple[Topic, ...], Meta(max_length=1_000)] = ()
    topics_pattern: Text = ""
    start: Literal["earliest", "latest"] = "earliest"
    group: Topic = "tripline"
    instance_id: Annotated[str, Meta(pattern="^[a-zA-Z0-9._-]{0,200}$")] = ""
    observations: Topic = "tripline.observations"
    signals: Topic = "tripline.signals"
    alerts: Topic = "tripline.alerts"
    feedback: Topic = "tripline.feedback"
    dead_letters: Topic = "tripline.dead-letters"
    partitions: Annotated[int, Meta(ge=1, le=1_024)] = 8
    replication: Annotated[int, Meta(ge=1, le=9)] = 3
    observations_retention_h: Annotated[float, Meta(ge=1, le=8_760)] = 72.0
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    plaintext_allowed: bool = False
    sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER"] = "SCRAM-SHA-512"
    sasl_username: Text = ""
    sasl_password_file: Text = ""
    sasl_token_file: Text = ""
    sasl_token_url: Text = ""
    sasl_token_ca_file: Text = ""
    sasl_client_id: Text = ""
    sasl_client_secret_file: Text = ""
    sasl_scope: Text = ""
    ssl_ca_file: Text = ""
    ssl_cert_file: Text = ""
    ssl_key_file: Text = ""
    session_timeout_s: Annotated[float, Meta(ge=6, le=1_800)] = 45.0
    transaction_timeout_s: Annotated[float, Meta(ge=1, le=900)] = 60.0
    fetch_bytes_max: Annotated[int, Meta(ge=65_536, le=67_108_864)] = 2_097_152
    stall_s: Annotated[float, Meta(ge=10, le=3_600)] = 120.0


class Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The schema registry of values that are framed with a schema's id; none where `url` is empty."""

    url: Text = ""
    username: Text = ""
    password_file: Text = ""
    ca_file: Text = ""
    cert_file: Text = ""
    key_file: Text = ""
    timeout_s: Annotated[float, Meta(ge=0.1, le=60)] = 5.0


class SelfTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A marked theft of our own, sent to an access topic every so often and told to nobody; none without a topic."""

    topic: Annotated[str, Meta(pattern="^[a-zA-Z0-9._-]{0,249}$")] = ""
    every_s: Annotated[float, Meta(ge=1, le=86_400)] = 900.0


class Worker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a worker process runs: what it does, where it keeps its snapshots, where it can be asked how it is."""

    roles: Annotated[tuple[Literal["ingest", "detect"], ...], Meta(min_length=1, max_length=2)] = ("ingest", "detect")
    state: Annotated[str, Meta(min_length=1, max_length=2_048)] = "tripline-state"
    store: Text = ""
    store_every_s: Annotated[float, Meta(ge=1, le=86_400)] = 300.0
    metrics_address: Text = "127.0.0.1"
    metrics_port: Annotated[int, Meta(ge=0, le=65_535)] = 9464
    metrics_plaintext_allowed: bool = False
    metrics_cert_file: Text = ""
    metrics_key_file: Text = ""
    metrics_token_file: Text = ""


class Respond(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a process of the alert plane keeps, where it can be asked how it is and told what an alert was; address, TLS
    and token are those of [worker]."""  # fmt: skip

    incidents_max: Annotated[int, Meta(ge=1_000, le=10_000_000)] = 100_000
    metrics_port: Annotated[int, Meta(ge=0, le=65_535)] = 9465
    feedback_port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    feedback_secret_from: Annotated[
        str, Meta(pattern="^((env:[A-Za-z_][A-Za-z0-9_]*|file:.+))?$", max_length=2_048)
    ] = ""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting, with its unit in its name; the defaults are what `deploy/tripline.toml` explains."""

    alerts_per_day_max: Annotated[float, Meta(ge=0.01, le=10_000)] = 5.0
    warmup_h: Annotated[float, Meta(ge=0, le=8_760)] = 48.0
    tick_s: Annotated[int, Meta(ge=1, le=3_600)] = 30
    join_grace_s: Annotated[float, Meta(ge=0, le=86_400)] = 120.0
    session_lifetime_h: Annotated[float, Meta(ge=0, le=8_760)] = 24.0
    clock_jump_max_s: Annotated[float, Meta(ge=60, le=604_800)] = 3_600.0
    future_max_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    close_after_s: Annotated[float, Meta(ge=60, le=604_800)] = 7_200.0
    update_after_s: Annotated[float, Meta(ge=0, le=604_800)] = 900.0
    snapshot_every_s: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    record_bytes_max: Annotated[int, Meta(ge=1_024, le=67_108_864)] = 1_048_576
    format: str = "auto"
    runbook_url: Annotated[str, Meta(max_length=2_048)] = ""
    hash_key: Annotated[str, Meta(pattern="^[0-9a-fA-F]{32}$")] = "74726970776972652064656661756c74"
    hash_key_file: Text = ""
    identity_keys_file: Text = ""
    identity_kinds: tuple[Kind, ...] = ("account", "credential", "source", "subject")
    entities_max: EntitiesMax = EntitiesMax()
    detectors: dict[str, bool] = {}
    canary: Canary = Canary()
    sensitivity: Sensitivity = Sensitivity()
    enrich: Enrich = Enrich()
    kafka: Kafka = Kafka()
    registry: Registry = Registry()
    selftest: SelfTest = SelfTest()
    worker: Worker = Worker()
    respond: Respond = Respond()
    subscribers: tuple[Any, ...] = ()  # settings of `stream.subscribers`, each of its kind


# What may differ between two runs without what was learned being another.
_OPERATIONAL: Final = (
    "canary", "snapshot_every_s", "runbook_url", "format", "record_bytes_max", "future_max_s", "kafka", "registry",
    "worker", "respond", "hash_key_file", "selftest", "subscribers", "identity_keys_file", "identity_kinds",
    "sensitivity",
)  # fmt: skip


def load(
    path: Path | None, environ: Mapping[str, str], detectors: Sequence[str] = (), formats: Sequence[str] = (),
    subscribers: Callable[[], Mapping[str, type[Any]]] = dict,
    look: Callable[[Enrich], list[str]] = lambda _settings: [],
) -> Config:  # fmt: skip
    """The configuration of a file (or none) and of variables; UsageError that lists every mistake there is.

    look: what is wrong with the files that `[enrich]` names; whoever reads them says so by himself.
    """
    values = _read(path) if path else {}
    origin = str(path) if path else "configuration"
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX):
            table, _, field = name.removeprefix(PREFIX).lower().partition("__")
            if field:
                inner = values.setdefault(table, {})
                if isinstance(inner, dict):
                    inner[field] = _value(text)
            else:
                values[table] = _value(text)
    mistakes: list[str] = []
    tables = values.pop("subscribers", [])
    checked = checked_table(Config, values, "", mistakes)
    checked["subscribers"] = checked_subscribers(tables, subscribers(), mistakes) if tables else ()
    known = sorted(detectors)
    for name, enabled in checked.get("detectors", {}).items():
        if known and name not in known:
            mistakes.append(
                f"detectors.{name}: there is no such detector{nearest(name, known)}; there are: {', '.join(known)}"
            )
        del enabled
    named = checked.get("format", "auto")
    if formats and named not in ("auto", *formats) and not named.startswith("mapping:"):
        mistakes.append(
            f"format = {named!r}: no such format{nearest(named, formats)}; use auto, mapping:FILE or one of: "
            + ", ".join(formats)
        )
    mistakes += _exposed(checked, path) + _untestable(checked)
    mistakes += enrich.mistakes(checked.get("enrich", {})) + look(msgspec.convert(checked.get("enrich", {}), Enrich))
    if checked.get("identity_keys_file") and checked.get("hash_key", Config().hash_key) == Config().hash_key:
        mistakes.append("identity_keys_file: needs a hash_key of your own, or ids of alerts tell who can guess names")
    if mistakes:
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        raise UsageError(f"{origin}: {count}\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return msgspec.convert(checked, Config)


def _untestable(checked: dict[str, Any]) -> list[str]:
    """Why self-tests would not arrive, or could be made by anybody."""
    topic = checked.get("selftest", {}).get("topic", "")
    if not topic:
        return []
    mistakes = []
    topics = checked.get("kafka", {}).get("topics", ())
    if topics and topic not in topics:
        mistakes.append(f"selftest.topic = {topic!r}: is none of kafka.topics, so nobody would read it")
    if checked.get("format", "auto") not in ("auto", "native"):
        mistakes.append(f"selftest.topic: self-tests are native; format = {checked['format']!r} forbids it")
    if not checked.get("detectors", {}).get("canary", True):
        mistakes.append("selftest.topic: it is canary that finds self-tests; detectors.canary = false forbids it")
    if checked.get("hash_key", Config().hash_key) == Config().hash_key:
        mistakes.append("selftest.topic: needs a hash_key of your own, or anybody could mark a theft as a test")
    return mistakes


def _exposed(checked: dict[str, Any], path: Path | None) -> list[str]:
    """Put the key of its own file in its place; what is wrong with how it is kept."""
    given = checked.get("hash_key", "")
    if name := checked.get("hash_key_file", ""):
        if given:
            return ["hash_key_file: there is a hash_key as well; keep one of the two"]
        hint = get_type_hints(Config, include_extras=True)["hash_key"]
        try:
            checked["hash_key"] = msgspec.convert(secret(Path(name)), hint)
        except msgspec.ValidationError:
            return [f"hash_key_file = {name!r}: what is in it must be {wanted(hint)}"]
        except UsageError as why:
            return [f"hash_key_file: {why}"]
    elif path and given and given != Config().hash_key and path.stat().st_mode & 0o004:
        return [f"hash_key: everybody on this host may read {path}; chmod o-r it, or name a file with hash_key_file"]
    return []


def fingerprint(config: Config) -> str:
    """The version of a configuration: 16 hex digits over everything that changes which alerts come of an input."""
    values = msgspec.to_builtins(config)
    for name in _OPERATIONAL:
        del values[name]
    if version := enrich.version_of(config.enrich):
        values["enrich"] = version
    else:  # as it was before there was such a table
        del values["enrich"]
    values["detectors"] = sorted(name for name, enabled in config.detectors.items() if not enabled)
    return hashlib.blake2b(orjson.dumps(values, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
        if len(raw) > FILE_BYTES_MAX:
            raise UsageError(f"{path}: more than {FILE_BYTES_MAX} bytes; a configuration is a few kilobytes")
        return tomllib.loads(raw.decode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a TOML file with --config") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from error


def _value(text: str) -> Any:
    """A variable's text as TOML would read it, or as the text it is."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
