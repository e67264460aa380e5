"""What every population of one run shares: figures, moments, networks, keys, clients, pages and names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.events import ACTIONS
from stream.incidents.figures import World
from stream.incidents.networks import Networks, make_networks, shares
from stream.incidents.rows import F64, I64, U64, Rows, Vocabulary, chance, mix, pick
from stream.incidents.timeline import DAY_MS, Timeline, make_timeline

_OBJECTS_MAX: Final = 10**8
_BYTES_SIGMA: Final = 0.5  # of one page's size


class Trait(IntEnum):
    """Salts: what a hash of somebody's number stands for."""

    HOME = auto()
    HOST = auto()
    CARRIER = auto()
    NAT = auto()
    ABROAD = auto()
    TRIP = auto()
    TUNNEL = auto()
    APP = auto()
    DEVICE = auto()
    VERSION = auto()
    UPDATE = auto()
    PHASE = auto()
    TOKEN = auto()
    BEFORE = auto()
    SIGN_UP = auto()
    SIGN_UP_TIME = auto()
    KEY = auto()
    SHIFT = auto()
    LEAVE = auto()
    REMOTE = auto()
    HIRE = auto()
    HIRE_TIME = auto()
    SECRET = auto()
    SERVER = auto()
    FORGED = auto()
    ADDRESS = auto()
    PACE = auto()
    ORDER = auto()


class UserAgents:
    """Client strings: browsers with their versions, and an app whose new release reaches one phone after another."""

    def __init__(self, world: World, timeline: Timeline, vocabulary: Vocabulary, salt: int) -> None:
        figures = world.clients
        self._salt, self._timeline = salt, timeline
        self._release_days = world.release.days
        popular = figures.popularity_exponent

        def code(name: str) -> int:
            return vocabulary.code("user_agent", name)

        def grid(names: tuple[str, ...], versions: tuple[str, ...]) -> npt.NDArray[np.int16]:
            return np.array([[code(name.replace("{v}", v)) for v in versions] for name in names], np.int16)

        self._browsers = grid(figures.browsers, figures.browser_versions)
        self._apps = grid(figures.apps, (*figures.app_versions, world.release.version or figures.app_versions[0]))
        self._browser_shares = np.cumsum(shares(len(figures.browsers), popular))
        self._browser_version_shares = np.cumsum(shares(len(figures.browser_versions), popular + 1))
        self._app_shares = np.cumsum(shares(len(figures.apps), popular))
        self._app_version_shares = np.cumsum(shares(len(figures.app_versions), popular + 1))

    def of(self, numbers: I64, app: npt.NDArray[np.bool_], time_ms: I64) -> npt.NDArray[np.int16]:
        """The code of each one's client at that time."""
        device = chance(numbers, self._salt + Trait.DEVICE)
        version = chance(numbers, self._salt + Trait.VERSION)
        browser = self._browsers[pick(self._browser_shares, device), pick(self._browser_version_shares, version)]
        waits_ms = chance(numbers, self._salt + Trait.UPDATE) * self._release_days * DAY_MS
        installed = np.where(
            time_ms >= self._timeline.release_ms + waits_ms,
            self._apps.shape[1] - 1,
            pick(self._app_version_shares, version),
        )
        return np.where(app, self._apps[pick(self._app_shares, device), installed], browser)


class Pages:
    """What customers look at, and what leaves with it."""

    def __init__(self, world: World, accounts: int, vocabulary: Vocabulary) -> None:
        pages = world.pages
        self.resources: Final = [page.resource for page in pages]
        self.cumulated: Final = np.cumsum([page.share for page in pages]) / sum(page.share for page in pages)
        # What a crawler reads: the first page that names an object and nobody.
        self.catalogue: Final = next((i for i, page in enumerate(pages) if page.object and not page.own), 0)
        self._codes = np.array([vocabulary.code("resource", page.resource) for page in pages], np.int16)
        self._actions = np.array([ACTIONS.index(page.action) for page in pages], np.int8)
        self._own = np.array([page.own for page in pages])
        self._object = np.array([page.object for page in pages])
        self._more_records = np.array([page.records_mean - 1 for page in pages])
        self._bytes = np.array([page.bytes_median for page in pages])
        self._products = min(max(1_000, accounts), _OBJECTS_MAX)

    def fill(self, rows: Rows, page: I64, rng: np.random.Generator) -> None:
        """Makes each row a view of that page by its account."""
        rows["resource"] = self._codes[page]
        rows["action"] = self._actions[page]
        own = self._own[page]
        rows["subject"] = np.where(own, rows["account"], rows["subject"])
        rows["bytes"] = np.rint(self._bytes[page] * np.exp(_BYTES_SIGMA * rng.standard_normal(len(page))))
        several = np.flatnonzero(self._more_records[page] > 0)
        rows["records"][several] = 1.0 + rng.poisson(self._more_records[page[several]])
        named = np.flatnonzero(self._object[page])
        product = np.exp(rng.random(len(named)) * math.log(self._products)).astype(np.int64)  # Zipf, exponent 1
        order = (mix(rows["account"][named] * 8 + product % 8, Trait.ORDER) % np.uint64(_OBJECTS_MAX)).astype(np.int64)
        rows["object"][named] = np.where(own[named], order, product)


@dataclass(frozen=True, slots=True)
class Setting:
    """One run: who lives in it is up to the populations. members: the size of the space of member numbers."""

    world: World
    accounts: int
    seed: int
    salt: int
    members: int
    timeline: Timeline
    networks: Networks
    vocabulary: Vocabulary
    clients: UserAgents
    pages: Pages
    keys: npt.NDArray[np.int16]  # issuer codes of signing keys: before the stream, at its start, after the rotation

    def rng(self, *purpose: int) -> np.random.Generator:
        """A generator of its own for each purpose: switching one oddity off leaves the dice of the others alone."""
        return np.random.default_rng([self.seed, *purpose])

    def key_at(self, time_ms: I64) -> npt.NDArray[np.int16]:
        """Issuer code of the key that signs at that time."""
        present: npt.NDArray[np.int16] = self.keys[1 + (time_ms >= self.timeline.rotation_ms)]
        return present

    def member(self, index: I64) -> I64:
        """Member number of each customer, 0 <= index < accounts. Numbers in between are no longer in use."""
        return (index * self.world.customers.member_gap).astype(np.int64)

    def uses_app(self, index: I64) -> npt.NDArray[np.bool_]:
        """Whether each customer uses the app."""
        return chance(index, self.salt + Trait.APP) < self.world.customers.app_share

    def home(self, index: I64) -> I64:
        """Each customer's residential network."""
        return self.networks.choose(self.networks.home, index, self.salt + Trait.HOME)


def make_setting(world: World, accounts: int, days: float, seed: int) -> Setting:
    """The setting of this seed."""
    timeline = make_timeline(world, days, seed)
    vocabulary = Vocabulary()
    salt = int(mix(np.array([seed], np.int64), Trait.SECRET)[0] >> np.uint64(32)) * 64
    names = mix(np.arange(3), salt + Trait.KEY)
    return Setting(
        world=world,
        accounts=accounts,
        seed=seed,
        salt=salt,
        members=int((accounts - 1) * world.customers.member_gap) + 1,
        timeline=timeline,
        networks=make_networks(world, accounts, seed),
        vocabulary=vocabulary,
        clients=UserAgents(world, timeline, vocabulary, salt),
        pages=Pages(world, accounts, vocabulary),
        keys=np.array([vocabulary.code("issuer", f"login-{int(name) >> 40:06x}") for name in names], np.int16),
    )


def cumulated_lognormal(n: int, sigma: float, rng: np.random.Generator) -> F64:
    """Cumulated shares of n whose rates are lognormal."""
    weights: F64 = np.exp(sigma * rng.standard_normal(n, np.float32), dtype=np.float64)
    np.cumsum(weights, out=weights)
    weights /= weights[-1]
    return weights


def secrets(numbers: I64 | U64, salt: int) -> U64:
    """A credential for each number, never 0."""
    return mix(numbers, salt) | np.uint64(1)
