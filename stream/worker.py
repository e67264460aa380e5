"""`tripline worker`: the data plane. Access topics are ingested, their observations are scored, each exactly once.

access topics ─▶ ingest ─▶ observations ─▶ detect ─▶ signals          one consumer group for each of the two
                    └──────────┴─▶ dead letters                       one lane for each partition of either
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from stream import kafka, rights
from stream.config import Config
from stream.detect import Detect
from stream.enrich.enricher import enricher_of
from stream.errors import TriplineError, UsageError
from stream.group import Group
from stream.ingest import Ingest
from stream.registry import Registry
from stream.transact import Stage
from stream.warm import warm
from stream.watch import Watch

LEAVE_S: Final = 10.0


class Worker:
    """One process of the data plane. It counts what its stages do, since it started."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self.config = config
        self.stopping = asyncio.Event()
        self.dead_letters: Counter[str] = Counter()
        self.alerts: Counter[tuple[str, str]] = Counter()  # revisions of signals, by status and severity
        self.ingested: Counter[str] = Counter()  # events by topic
        self.future = 0
        self.stage_s: dict[str, float] = {}  # of ingest
        self._say = say
        self.registry = Registry(config) if config.registry.url else None
        self.enricher = enricher_of(config, say) if "ingest" in config.worker.roles else None
        self.groups: list[Group] = []
        if "ingest" in config.worker.roles:
            topics, pattern = access_topics(config)
            self.groups.append(Group("ingest", config, topics, pattern, self._ingest, self.stopping))
        if "detect" in config.worker.roles:
            self.groups.append(Group("detect", config, [config.kafka.observations], "", self._detect, self.stopping))

    async def run(self) -> None:
        """Work until SIGTERM or Ctrl-C; raises TriplineError for what a person has to see to."""
        warm(self.config)  # before SIGTERM waits for anything
        gc.collect()
        gc.freeze()  # what is loaded now stays: no collection looks at it again
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        watch = Watch(self)
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._authorized()
            tasks += [asyncio.create_task(group.run()) for group in self.groups]
            tasks.append(asyncio.create_task(watch.run()))
            with watch.served():
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
        except KafkaConnectionError as why:
            raise TriplineError(kafka.unreachable(self.config.kafka, why)) from why
        except KafkaError as why:
            raise TriplineError(f"the brokers refuse: {type(why).__name__}: {why}; see `tripline check`") from why
        finally:
            self.stopping.set()
            if tasks and (await asyncio.wait(tasks, timeout=LEAVE_S))[1]:
                if error := sys.exception():
                    self._say(str(error))
                self._say(
                    f"not done within {LEAVE_S:g} s: ending at once; what is committed stays so, and whoever has the "
                    "partitions next goes on from there"
                )
                os._exit(1)  # a thread in the middle of something cannot be asked to stop, and would be waited for

    async def _authorized(self) -> None:
        """Look before the first step whether a right is missing: a consumer without one would wait for ever."""
        if lacking := await rights.missing(self.config, self.config.kafka.topics):
            raise TriplineError("\n".join(kafka.refusal(self.config, right) for right in lacking))

    def detecting(self) -> list[Detect]:
        """The partitions of the observations that are worked on."""
        stages = [lane.stage for group in self.groups for lane in list(group.lanes.values())]
        return [stage for stage in stages if isinstance(stage, Detect)]

    def _ingest(self, tp: TopicPartition) -> Stage:
        return Ingest(self.config, tp.topic, tp.partition, self, self.registry, self.enricher)

    def _detect(self, tp: TopicPartition) -> Stage:
        return Detect(self.config, tp.partition, self, self._say)


def access_topics(config: Config) -> tuple[list[str], str]:
    """The topics to read, by name or by pattern; UsageError where neither or both are given."""
    topics, pattern = list(config.kafka.topics), config.kafka.topics_pattern
    if bool(topics) == bool(pattern):
        raise UsageError("kafka.topics or kafka.topics_pattern: one of the two must say where access events are")
    own = set(kafka.own_topics(config.kafka))
    if mine := own & set(topics):
        raise UsageError(f"kafka.topics: {sorted(mine)[0]} is Tripline's own topic; it has no access events")
    try:
        compiled = re.compile(pattern)
    except re.error as why:
        raise UsageError(f"kafka.topics_pattern = {pattern!r}: not a regular expression: {why}") from why
    if pattern and (mine := {name for name in own if compiled.match(name)}):
        raise UsageError(f"kafka.topics_pattern = {pattern!r}: matches {sorted(mine)[0]}, Tripline's own topic")
    return topics, pattern
