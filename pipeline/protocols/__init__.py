"""Wire protocols: both sides of one call, as recorded, read into an `Exchange`.

Pure: no clock, no I/O, and nothing raises on strange input. Start with `exchange.read_exchange`.
"""

from pipeline.protocols.exchange import protocol_of, read_exchange, read_parsed
from pipeline.protocols.findings import FINDINGS

__all__ = ["FINDINGS", "protocol_of", "read_exchange", "read_parsed"]
