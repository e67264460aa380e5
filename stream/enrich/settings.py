"""The settings of `[enrich]`, and what is wrong with them that no file has to be read for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from stream.patterns import compiled
from stream.settings import nearest

NETWORKS_MAX: Final = 10_000
IDENTITIES_MAX: Final = 64  # each is tried on a name until one matches
PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)
PRIVATE: Final = "private"  # stands for:
PRIVATE_RANGES: Final = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
    "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",  # RFC 6598, 1122, 3927
    "fc00::/7", "fe80::/10", "::1/128",  # RFC 4193, 4291
)  # fmt: skip
_NAME: Final = re.compile(r"(?!AS\d+\Z)[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
File = Annotated[str, Meta(max_length=2_048)]
Named = dict[str, str | tuple[str, ...]]


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule: what the account is called whose name the pattern matches whole, and the role that it acts in.

    In both texts {name} stands for the pattern's group of that name.
    """

    pattern: Annotated[str, Meta(min_length=1, max_length=1_000)]
    account: Annotated[str, Meta(min_length=1, max_length=256)]
    role: Annotated[str, Meta(max_length=256)] = ""


class Enrich(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What events are filled in from; nothing where all of it is empty. Files are read again when they change."""

    country_db: File = ""
    asn_db: File = ""
    directory: File = ""
    networks: Named = {}
    identities: Annotated[tuple[Identity, ...], Meta(max_length=IDENTITIES_MAX)] = ()
    client_families: bool = False


def version_of(settings: Enrich) -> dict[str, Any]:
    """What of the settings changes which alerts come of an input, without where the files lie; {} where it is off."""
    if settings == Enrich():
        return {}
    values: dict[str, Any] = msgspec.to_builtins(settings)
    for name in ("identities", "client_families"):
        if not values[name]:  # as it was before there were any
            del values[name]
    return values | {name: bool(values[name]) for name in ("country_db", "asn_db", "directory")}


def named_networks(networks: Mapping[str, str | tuple[str, ...]]) -> list[tuple[Network, str]]:
    """Each range with its name; of settings that have no mistake."""
    return [(ipaddress.ip_network(text), name) for name, text in _ranges(networks)]


def mistakes(checked: Mapping[str, Any]) -> list[str]:
    """What is wrong with a table of settings that has passed for its types."""
    return _wrong_networks(checked.get("networks", {})) + _wrong_identities(checked.get("identities", ()))


def _wrong_identities(rules: Sequence[Identity]) -> list[str]:
    wrong = []
    for number, rule in enumerate(rules, 1):
        where = f"enrich.identities[{number}]"
        try:
            groups = sorted(compiled(rule.pattern).groupindex)
        except ValueError as why:
            wrong.append(f"{where}.pattern: {why}")
            continue
        for name, template in (("account", rule.account), ("role", rule.role)):
            said = f"{where}.{name} = {template!r}"
            wrong += [
                f"{said}: the pattern has no group {each}{nearest(each, groups)}; write (?P<{each}>...) around it"
                for each in sorted(set(PLACEHOLDER.findall(template)) - set(groups))
            ]
            if set("{}") & set(PLACEHOLDER.sub("", template)):
                wrong.append(f"{said}: a brace by itself; write {{name}} for a group of the pattern")
    return wrong


def _ranges(networks: Mapping[str, str | tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    for name, given in networks.items():
        for text in (given,) if isinstance(given, str) else given:
            yield from ((name, each) for each in (PRIVATE_RANGES if text == PRIVATE else (text,)))


def _wrong_networks(networks: Mapping[str, str | tuple[str, ...]]) -> list[str]:
    owner: dict[Network, str] = {}
    wrong = [
        f"enrich.networks.{name}: a name is a letter and then at most 63 letters, digits, dots, dashes and "
        "underscores, and does not look like an autonomous system (AS64500); choose another"
        for name in networks
        if not _NAME.fullmatch(name)
    ]
    ranges = list(_ranges(networks))
    if len(ranges) > NETWORKS_MAX:
        wrong.append(f"enrich.networks: {len(ranges):,} ranges, the limit is {NETWORKS_MAX:,}; join neighbours")
    for name, text in ranges:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as why:
            wrong.append(f"enrich.networks.{name} = {text!r}: {why}; write {_remedy(text)}")
            continue
        if owner.setdefault(network, name) != name:
            wrong.append(f"enrich.networks.{name} = {text!r}: is {owner[network]} as well; keep one of the two")
    return wrong


def _remedy(text: str) -> str:
    """How a range that is none might have been meant.

    >>> _remedy("10.1.2.3/8"), _remedy("privat"), _remedy("office")
    ('10.0.0.0/8', 'private', 'a range such as 203.0.113.0/24 or 2001:db8::/32, or private')
    """
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return PRIVATE if nearest(text, [PRIVATE]) else f"a range such as 203.0.113.0/24 or 2001:db8::/32, or {PRIVATE}"
