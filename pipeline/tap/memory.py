"""What the tap remembers between calls: bounded, and forgotten when it was idle too long."""

from collections import OrderedDict


class Memory:
    """Short texts by key, at most `limit` of them, each until it was not asked for in `idle_ms`."""

    def __init__(self, limit: int, idle_ms: int) -> None:
        self._limit = limit
        self._idle_ms = idle_ms
        self._entries: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def get(self, key: str, at_ms: int) -> str:
        """The text put under a key, "" if there is none any more; asking keeps it alive."""
        value, seen_at = self._entries.get(key, ("", at_ms))
        if at_ms - seen_at > self._idle_ms:
            del self._entries[key]
            return ""
        if value:
            self.put(key, value, at_ms)
        return value

    def put(self, key: str, value: str, at_ms: int) -> None:
        """Remember a text; the one longest unused makes room if need be."""
        self._entries[key] = (value, at_ms)
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)
