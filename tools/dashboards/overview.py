"""What an operator looks at first: promises, calls, work."""

from dashboards.grafana import Dashboard, Panel, Query, Row
from dashboards.queries import FAULTS, most, quantiles, rate

OVERVIEW = Dashboard(
    "bloomery-overview",
    "Bloomery / Overview",
    "Whether Bloomery keeps what it promises: calls are answered, in time, and jobs and predictions get on.",
    (
        Row(
            "Promises",
            (
                Panel(
                    "Availability, 3 days",
                    "Share of calls that did not fail by a fault of ours; 99.9 % are promised.",
                    "percentunit",
                    (Query("1 - bloomery:api_error_ratio:rate3d{NS}", "{{namespace}}"),),
                    is_stat=True,
                    bad_below=0.999,
                ),
                Panel(
                    "Budget for errors, burning",
                    "How many times as fast as it may the budget of 0.1 % is used up; 14.4 wakes somebody.",
                    "none",
                    (Query("bloomery:api_error_ratio:rate1h{NS} / 0.001", "{{namespace}}"),),
                    is_stat=True,
                    bad_above=1,
                ),
                Panel(
                    "Calls within a second",
                    "Share of calls with one answer that had it within a second; 99 % are promised.",
                    "percentunit",
                    (
                        Query(
                            'sum(rate(grpc_server_handling_seconds_bucket{NS, le="1.0"}[1h]))'
                            " / sum(rate(grpc_server_handling_seconds_count{NS}[1h]))"
                        ),
                    ),
                    is_stat=True,
                    bad_below=0.99,
                ),
                Panel(
                    "Services that are not ready",
                    "Services of which no replica can do its work.",
                    "none",
                    (Query("count(max by (namespace, service) (bloomery_service_ready{NS}) == 0) or vector(0)"),),
                    is_stat=True,
                    bad_above=1,
                ),
                Panel(
                    "Alerts that fire",
                    "Of Bloomery's rules; Alertmanager has the list.",
                    "none",
                    (Query('count(ALERTS{NS, alertstate="firing", severity=~"page|ticket"}) or vector(0)'),),
                    is_stat=True,
                    bad_above=1,
                ),
                Panel(
                    "Replicas by version",
                    "More than one version outside of an upgrade is an upgrade that did not end.",
                    "none",
                    (Query("count by (version) (bloomery_build_info{NS})", "{{version}}"),),
                    is_stat=True,
                ),
            ),
        ),
        Row(
            "Calls",
            (
                Panel(
                    "Calls",
                    "Calls that began, by service.",
                    "reqps",
                    (Query(rate("grpc_server_started_total", "grpc_service"), "{{grpc_service}}"),),
                ),
                Panel(
                    "Errors by method",
                    "Calls that failed by a fault of ours; nothing where none did.",
                    "reqps",
                    (
                        Query(
                            f"{rate('grpc_server_handled_total', 'grpc_method', 'grpc_code', where=FAULTS)} > 0",
                            "{{grpc_method}} {{grpc_code}}",
                        ),
                    ),
                ),
                Panel(
                    "What callers are told",
                    "All codes of calls that ended.",
                    "reqps",
                    (Query(rate("grpc_server_handled_total", "grpc_code"), "{{grpc_code}}"),),
                ),
                Panel(
                    "Time of calls",
                    "Of calls with one answer, from their first byte to their status.",
                    "s",
                    quantiles("grpc_server_handling_seconds", of=(0.5, 0.9, 0.99)),
                ),
                Panel(
                    "Slowest methods",
                    "The time within which 99 of 100 calls are answered, of the ten slowest.",
                    "s",
                    (
                        Query(
                            f"topk(10, {quantiles('grpc_server_handling_seconds', 'grpc_method')[1].expression})",
                            "{{grpc_method}}",
                        ),
                    ),
                ),
                Panel(
                    "Streams",
                    "Messages of watches and other streams, to clients and from them.",
                    "cps",
                    (
                        Query(rate("grpc_server_msg_sent_total", where='grpc_type!="unary"'), "sent"),
                        Query(rate("grpc_server_msg_received_total", where='grpc_type!="unary"'), "received"),
                    ),
                ),
            ),
        ),
        Row(
            "Work",
            (
                Panel(
                    "Jobs",
                    "Jobs that are not over, by state.",
                    "none",
                    (Query(most("bloomery_training_jobs", "state"), "{{state}}"),),
                ),
                Panel(
                    "Predictions",
                    "Predictions by the code that they ended with.",
                    "reqps",
                    (Query(rate("bloomery_predictions_total", "code"), "{{code}}"),),
                ),
                Panel(
                    "Time of predictions",
                    "From the request to the answer.",
                    "s",
                    quantiles("bloomery_prediction_stage_seconds", where='stage="total"'),
                ),
            ),
        ),
    ),
)
