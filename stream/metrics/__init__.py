"""What a process tells Prometheus: read when it is scraped, so that the hot path counts nothing twice.

Labels are bounded and never an identity: entity kind, detector, severity, reason, stage, group, partition, topic.
One file a process (`run`, `worker`, `respond`), what they share (`pipeline`, `process`, `families`), and `serve`. What
needs a broker's client is imported by whoever has one: `stream.metrics.worker`, `stream.metrics.respond`.
"""

from stream.metrics.run import registry_of
from stream.metrics.serve import serve, serve_worker, write

__all__ = ["registry_of", "serve", "serve_worker", "write"]
