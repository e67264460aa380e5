"""Blocks of events, filled in: between decoding and everything else, so that all that comes after is a function of what
was filled in.

    1. the files are looked at: one that has changed is read again, one that is of no use is told and left as it was
    2. each account and each address that is new is looked up, once
    3. an account that goes by several names gets the one that `identity` has for it, a client the name of its family
    4. what an event does not say is put into its place; what it says stays
    5. the block's origins say which files that came of (`stream.origins`), and so does every alert's `source`

Named networks are the exception to the fourth step: the settings' word for a range goes before the event's own
autonomous system, because that is no better known to the log than to who wrote the settings.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from stream.blocks import PackedBlock, none
from stream.enrich.clients import families
from stream.enrich.directory import Directory
from stream.enrich.distinct import Answers, Distinct, absent
from stream.enrich.identity import People
from stream.enrich.mmdb import Broken
from stream.enrich.places import Atlas, Places
from stream.enrich.settings import Enrich, named_networks
from stream.enrich.watched import Watched
from stream.errors import UsageError
from stream.events import ACCOUNT_KINDS
from stream.origins import stamped
from stream.siphash import hash_key
from stream.texts import Columns, Packed

if TYPE_CHECKING:
    from stream.config import Config

_READERS: Final[tuple[tuple[str, Callable[[bytes], Any]], ...]] = (
    ("country_db", Atlas.of_countries), ("asn_db", Atlas.of_systems), ("directory", Directory),
)  # fmt: skip


def enricher_of(config: Config, say: Callable[[str], None] = lambda _message: None) -> Enricher | None:
    """What fills in the events of a configuration, None where nothing does; UsageError for files of no use."""
    return Enricher(config.enrich, config.hash_key, say) if config.enrich != Enrich() else None


def opened(settings: Enrich) -> tuple[dict[str, Watched[Any]], list[str]]:
    """The files of the settings, and what is wrong with those that cannot be used."""
    files, wrong = {}, []
    for name, read in _READERS:
        if path := getattr(settings, name):
            try:
                files[name] = Watched(name, path, read)
            except Broken as why:
                wrong.append(str(why))
    return files, wrong


class Enricher:
    """Fills in blocks; one for a process, for any number of threads.

    filled: how many events had a field filled in, by field. reloads: how often a changed file was "loaded", or was
    "refused" because it was of no use.
    """

    def __init__(self, settings: Enrich, key: str, say: Callable[[str], None]) -> None:
        self._files, wrong = opened(settings)
        if wrong:
            raise UsageError("\n".join(wrong))
        self._key = hash_key(key)
        self._named = named_networks(settings.networks)
        self._identities = settings.identities
        self._clients = Distinct(1, families, self._key) if settings.client_families else None
        self._say = say
        self._lock = threading.Lock()
        self.filled: Counter[str] = Counter()
        self.reloads: Counter[str] = Counter({"loaded": 0, "refused": 0})
        self.seconds = 0.0
        self._take_up()
        self._filled(none(""))  # compiles what is not yet compiled

    def fill(self, block: PackedBlock) -> PackedBlock:
        """The events with what is known of them."""
        with self._lock:
            began = time.perf_counter()
            self._refresh()
            out = self._filled(block) if len(block) else block
            self.seconds += time.perf_counter() - began
            return out

    def _refresh(self) -> None:
        changed = False
        for file in self._files.values():
            try:
                changed |= (again := file.refreshed())
                self.reloads["loaded"] += again
            except Broken as why:
                self.reloads["refused"] += 1
                self._say(f"{why}; what it said before still holds")
        if changed:
            self._take_up()
            self._say(f"enrichment is at {self.version}: {self}")

    def _take_up(self) -> None:
        """Begin anew with what the files say now."""
        files = self._files
        digests = b"".join(name.encode() + file.digest for name, file in files.items())
        self.version = blake2b(digests, digest_size=4).hexdigest() if files else ""
        country, system, directory = (files[n].value if n in files else None for n, _ in _READERS)
        self._places = self._people = None
        if country or system or self._named:
            self._places = Distinct(3, Places(self._named, country, system).find, self._key)
        if directory or self._identities:
            self._people = Distinct(People.fields, People(self._identities, directory).find, self._key)

    def _filled(self, block: PackedBlock) -> PackedBlock:
        block = block.columns()
        text, kind = dict(block.text), block.account_kind
        if self._people:
            names = block.hashes(["account"], self._key)
            account, role, group, kinds = self._people(text["account"], names)
            if account.codes.any():  # whoever read their own data still does
                own = block.hashes(["subject"], self._key)[0] == names[0]
                self._put(text, "subject", account.where(own))
            self._put(text, "account", account)
            self._put(text, "issuer", role.where(absent(text["issuer"])))
            self._put(text, "group", group.where(absent(text["group"])))
            codes = np.array([ACCOUNT_KINDS.index(each or ACCOUNT_KINDS[0]) for each in kinds.texts], np.int8)
            given = np.where(kind == 0, codes[kinds.codes], 0)
            self.filled["account_kind"] += int((given > 0).sum())
            kind = np.where(given > 0, given, kind).astype(np.int8)
        if self._clients:
            self._put(text, "user_agent", *self._clients(text["user_agent"], block.hashes(["user_agent"], self._key)))
        if self._places:
            country, named, system = self._places(text["source_ip"], block.hashes(["source_ip"], self._key))
            self._put(text, "country", country.where(absent(text["country"])))
            self._put(text, "network", system.where(~(_told_system(text["network"]) | (named.codes > 0))))
            self._put(text, "network", named)
        origins = tuple(stamped(origin, self.version) for origin in block.origins)
        return replace(block, origins=origins, account_kind=kind, text=Columns.of(text))

    def _put(self, text: dict[str, Packed], name: str, answers: Answers) -> None:
        text[name] = answers.into(text[name])
        self.filled[name] += int((answers.codes > 0).sum())

    def __str__(self) -> str:
        said = [f"{name} {file.value}" for name, file in self._files.items()]
        said += [f"{len(self._named):,} named ranges"] * bool(self._named)
        said += [f"{len(self._identities):,} rules of identity"] * bool(self._identities)
        return ", ".join(said + ["families of clients"] * bool(self._clients))


def _told_system(network: Packed) -> Any:
    """Where the network is an autonomous system that the event named ("AS64500"): bool[n]. Nothing is looked up for an
    address that is none, so a host with such a name is not mistaken for one."""  # fmt: skip
    long = network.stops - network.starts > 2
    if not long.any():
        return long
    first = np.where(long, network.starts, network.starts[np.argmax(long)])
    return long & (network.buffer[first] == ord("A")) & (network.buffer[first + 1] == ord("S"))
