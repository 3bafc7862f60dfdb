"""Money that may be spent in a day: set aside before a call, corrected after it, kept over restarts."""

import logging
from decimal import Decimal
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
_NONE = Decimal(0)


class Spent(msgspec.Struct):
    """What was spent on one UTC day (days since 1970), by purpose, in the currency of its budget."""

    day: int = 0
    amounts: dict[str, Decimal] = {}


class Purse:
    """The day's spending, in a file if one is given. Several taps need a file each, and have a budget each."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._spent = self._saved = _read(file) if file else Spent()

    def spent(self, purpose: str, at_ms: int) -> Decimal:
        """What was spent or set aside on the day of that time."""
        return self._today(at_ms).get(purpose, _NONE)

    def set_aside(self, purpose: str, amount: Decimal, limit: Decimal, at_ms: int) -> bool:
        """Takes an amount if the day's limit allows it; False if it does not."""
        amounts = self._today(at_ms)
        after = amounts.get(purpose, _NONE) + amount
        if after > limit:
            return False
        amounts[purpose] = after
        return True

    def correct(self, purpose: str, by: Decimal, at_ms: int) -> None:
        """Adds what a call cost more than was set aside for it, or takes away what it cost less."""
        amounts = self._today(at_ms)
        amounts[purpose] = max(_NONE, amounts.get(purpose, _NONE) + by)

    def save(self) -> None:
        """Writes the file, if there is one and it is out of date; what goes wrong is logged."""
        if self._file is None or self._spent == self._saved:
            return
        self._saved = Spent(self._spent.day, dict(self._spent.amounts))
        part = self._file.with_suffix(".part")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(msgspec.json.encode(self._saved))
            part.replace(self._file)
        except OSError as error:
            log.warning("after a restart the budget of the day begins anew: %s", error)

    def _today(self, at_ms: int) -> dict[str, Decimal]:
        day = at_ms // DAY_MS
        if day > self._spent.day:
            self._spent = Spent(day, {})
        return self._spent.amounts


def _read(file: Path) -> Spent:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Spent)
    except FileNotFoundError:
        return Spent()
    except (OSError, msgspec.DecodeError) as error:
        log.warning("the budget of the day begins anew: %s: %s", file, error)
        return Spent()
