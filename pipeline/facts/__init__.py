"""Facts about providers, as YAML: prices, hosts, models, error codes. `catalog.py` reads them."""

from pathlib import Path

FACTS = Path(__file__).parent
