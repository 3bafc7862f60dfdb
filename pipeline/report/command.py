"""`cutover report`: takes a snapshot, or finds an older one, and writes it in the form the file's name asks for."""

from collections.abc import Callable
from pathlib import Path

from pipeline.catalog import load_catalog
from pipeline.report.collect import find, keep, take
from pipeline.report.compose import document
from pipeline.report.document import Document
from pipeline.report.fonts import MissingError
from pipeline.report.snapshot import Snapshot, SnapshotError, name_of
from pipeline.settings import Settings
from pipeline.store.connect import Client, DatabaseError, connect


def write_report(settings: Settings, language: str, out: Path, snapshot: str) -> str:
    """Writes the file; the snapshot's name. Raises as `make_report`; nothing is written then."""
    name, content = make_report(settings, language, out.suffix, snapshot)
    out.write_bytes(content)
    return name


def make_report(
    settings: Settings, language: str, suffix: str, snapshot: str = ""
) -> tuple[str, bytes]:
    """The snapshot's name and the file's bytes. With `snapshot` "" a new one is taken and kept.

    `suffix` is one of FORMS. Raises SnapshotError, MissingError or StoreError.
    """
    render = renderer(suffix)
    try:
        with connect(settings) as client:
            found = find(client, snapshot) if snapshot else _new(client, settings)
    except DatabaseError as error:
        if "UNKNOWN_TABLE" in str(error) or "UNKNOWN_DATABASE" in str(error):
            mend = "the store lacks tables of this version: run `cutover migrate`"
            raise SnapshotError(mend) from None
        raise
    return name_of(found), render(document(found, language))


def _new(client: Client, settings: Settings) -> Snapshot:
    snapshot = take(client, load_catalog(), settings.report_currency)
    keep(client, snapshot)
    return snapshot


def rendered(snapshot: Snapshot, language: str, suffix: str) -> bytes:
    """The report as a file's bytes; `suffix` is one of FORMS. Raises MissingError."""
    return renderer(suffix)(document(snapshot, language))


def renderer(suffix: str) -> Callable[[Document], bytes]:
    """What makes a document into a file of that kind. Raises MissingError naming what to install."""
    return FORMS[suffix]()


def _pdf() -> Callable[[Document], bytes]:
    try:
        from pipeline.report.pdf import pdf  # noqa: PLC0415
    except ImportError:
        raise MissingError("typst") from None
    return pdf


def _pptx() -> Callable[[Document], bytes]:
    try:
        from pipeline.report.slides import pptx  # noqa: PLC0415
    except ImportError:
        raise MissingError("python-pptx") from None
    return pptx


def _html() -> Callable[[Document], bytes]:
    from pipeline.report.html import html  # noqa: PLC0415

    return lambda found: html(found).encode()


FORMS = {".pdf": _pdf, ".pptx": _pptx, ".html": _html}
