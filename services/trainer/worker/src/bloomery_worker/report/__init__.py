"""A page about the evaluations of a job that needs nothing but itself: no network, no script, pictures inside."""

from bloomery_worker.report.page import write_report

__all__ = ["write_report"]
