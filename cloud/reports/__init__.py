"""Reports of campaigns: one model, rendered for browsers, programs and spreadsheets.

A renderer takes a `model.CampaignReport` and returns the whole file; the same report gives the
same bytes. Members of the family: `page` (HTML), `record` (JSON) and `table` (CSV).
"""

from collections.abc import Callable
from typing import Final

from cloud.reports.model import CampaignReport
from cloud.reports.page import render_html
from cloud.reports.record import render_json
from cloud.reports.table import render_csv

#: Format name -> renderer.
RENDERERS: Final[dict[str, Callable[[CampaignReport], bytes]]] = {
    "html": render_html,
    "json": render_json,
    "csv": render_csv,
}

__all__ = ["RENDERERS", "CampaignReport", "render_csv", "render_html", "render_json"]
