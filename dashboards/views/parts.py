"""What several pages draw alike: cards with a title and its explanation, charts, CSV files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
from markupsafe import Markup

from dashboards import charts, queries, show
from dashboards.markup import HINT
from dashboards.names import provider_color, short_name
from dashboards.words import language, named, t, theme


@contextmanager
def card(key: str) -> Iterator[None]:
    """A framed box headed by the words `key`, explained by the words `key.help`; as high as its neighbour."""
    with st.container(border=True, key=f"card-{key.replace('.', '-')}", height="stretch"):
        st.markdown(f"**{t(key)}**", help=t(f"{key}.help"))
        yield


def hinted(key: str) -> Markup:
    """The words `key`, with the words `key.help` where the pointer rests on them."""
    return HINT.format(t(f"{key}.help"), t(key))


def draw(chart: alt.Chart | alt.LayerChart) -> None:
    """Shows a chart across the width it has."""
    st.altair_chart(charts.styled(chart, theme()), width="stretch", theme=None)


def palette(providers: Sequence[str]) -> dict[str, str]:
    """Name in the language in force → colour in the theme in force, for the legend of a chart."""
    return {short_name(p, language()): provider_color(p, theme()) for p in providers}


def with_names(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the provider's name beside its id."""
    return [{**row, "name": short_name(row["provider"], language())} for row in rows]


def workload_name(key: str) -> str:
    """What people call a workload: its name in the plan, else its key."""
    plan = queries.plan()
    work = plan.workloads.get(key) if plan else None
    return named(work.name if work else None, key)


def viewer_offset() -> int:
    """The viewer's distance from UTC in minutes, as browsers count it: negative to the east."""
    return int(st.context.timezone_offset or 0)


def utc_ms(at: datetime) -> int:
    """UTC ms, as the plan reckons."""
    return round(at.timestamp() * 1000)


def csv_button(rows: Sequence[Mapping[str, Any]], file_name: str, key: str) -> None:
    """Offers the rows as a CSV file a spreadsheet opens without running anything.

    The file is made at the click: one made before is gone when the page has refreshed meanwhile.
    """
    st.download_button(
        t("csv"), lambda: _csv(rows), file_name, "text/csv",
        icon=":material/download:", key=key, on_click="ignore",
    )  # fmt: skip


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    safe = [{name: show.csv_cell(value) for name, value in row.items()} for row in rows]
    return pd.DataFrame(safe).to_csv(index=False).encode("utf-8-sig")
