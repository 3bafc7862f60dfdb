"""A snapshot and a language in, a document out. Pure: the same snapshot, the same words and numbers."""

from pipeline.report import figures
from pipeline.report.appendix import method_page, workload_page
from pipeline.report.board import board
from pipeline.report.document import Document
from pipeline.report.snapshot import Snapshot, name_of
from pipeline.report.words import Words


def document(snapshot: Snapshot, language: str) -> Document:
    """The report in "en" or "zh"."""
    words, name, plan = Words(language, snapshot), name_of(snapshot), snapshot.plan
    pages = [board(words, snapshot)]
    if plan and snapshot.stored.calls:
        saved = figures.saved(snapshot)
        pages += [
            workload_page(words, snapshot, plan, key, saved.get(key)) for key in plan.workloads
        ]
        pages.append(method_page(words, snapshot))
    return Document(
        language=language,
        title=pages[0].title,
        taken=words("taken", at=words.show.moment(snapshot.taken_at)),
        taken_at=snapshot.taken_at,
        snapshot=words("snapshot", name=name),
        again=words("again", name=name),
        page=words("page", n="{n}", all="{all}"),
        pages=tuple(pages),
    )
