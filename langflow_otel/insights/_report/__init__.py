"""A report on runs: one HTML file that needs no network and no server."""

from langflow_otel.insights._report.build import Report, build_report
from langflow_otel.insights._report.from_metrics import report_from_metrics
from langflow_otel.insights._report.page import render

__all__ = ["Report", "build_report", "render", "report_from_metrics"]
