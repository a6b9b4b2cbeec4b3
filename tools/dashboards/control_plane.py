"""What the services are made of."""

from dashboards.data import DATA
from dashboards.grafana import Dashboard, Panel, Query, Row
from dashboards.queries import RATE, most, quantiles, rate

CONTROL_PLANE = Dashboard(
    "bloomery-control-plane",
    "Bloomery / Control plane",
    "What the services are made of: the reconciler, database, object store, watches, loops and processes.",
    (
        Row(
            "Reconciler",
            (
                Panel(
                    "Leader",
                    "1 on the replica of the trainer that leads; the sum must be 1.",
                    "none",
                    (
                        Query("bloomery_reconciler_leader{NS}", "{{pod}}"),
                        Query("sum(bloomery_reconciler_leader{NS})", "sum"),
                    ),
                ),
                Panel(
                    "Epoch of the lease",
                    "Grows by one with each change of the leader.",
                    "none",
                    (Query(most("bloomery_reconciler_epoch"), "epoch"),),
                ),
                Panel(
                    "Since the last pass",
                    "The alert comes at 120 s.",
                    "s",
                    (Query(f"time() - {most('bloomery_reconciler_last_success_seconds')}", "age"),),
                    bad_above=120,
                ),
                Panel(
                    "Time of a pass",
                    "Over all jobs that are not over.",
                    "s",
                    quantiles("bloomery_reconciler_pass_seconds"),
                ),
                Panel(
                    "Refused writes and workers without a job",
                    "In an hour: what a former leader wanted to write, and what the leader had to clear away.",
                    "none",
                    (
                        Query("sum(increase(bloomery_reconciler_fenced_writes_total{NS}[1h]))", "refused writes"),
                        Query("sum(increase(bloomery_reconciler_orphans_total{NS}[1h]))", "without a job"),
                    ),
                ),
                Panel(
                    "Requests to the cluster",
                    "By verb, resource and code (0: no answer); and watches that ended.",
                    "reqps",
                    (
                        Query(
                            rate("bloomery_k8s_requests_total", "verb", "resource", "code"),
                            "{{verb}} {{resource}} {{code}}",
                        ),
                        Query(rate("bloomery_k8s_watch_restarts_total", "reason"), "watch ended: {{reason}}"),
                    ),
                ),
            ),
        ),
        Row(
            "Database and object store",
            (
                Panel(
                    "Transactions",
                    "By kind, and by the code of what ended them.",
                    "ops",
                    (Query(rate("bloomery_database_transaction_seconds_count", "kind", "code"), "{{kind}} {{code}}"),),
                ),
                Panel(
                    "Time of transactions",
                    "From the first statement to the commit.",
                    "s",
                    quantiles("bloomery_database_transaction_seconds", "kind", of=(0.99,)),
                ),
                Panel(
                    "Connections",
                    "Those in use beside how many may be.",
                    "none",
                    (
                        Query("sum by (job) (bloomery_database_connections{NS})", "{{job}}"),
                        Query("sum by (job) (bloomery_database_connections_limit{NS})", "{{job}} at most"),
                    ),
                ),
                Panel(
                    "Calls to the object store",
                    "By the code that they ended with; NOT_FOUND is an answer.",
                    "ops",
                    (Query(rate("bloomery_object_store_call_seconds_count", "code"), "{{code}}"),),
                ),
                Panel(
                    "Time of calls to the object store",
                    "Single calls.",
                    "s",
                    quantiles("bloomery_object_store_call_seconds"),
                ),
                Panel(
                    "Space of the embedded object store",
                    "Free, and all that there is.",
                    "bytes",
                    (
                        Query("minio_cluster_capacity_usable_free_bytes{NS}", "free"),
                        Query("minio_cluster_capacity_usable_total_bytes{NS}", "all"),
                    ),
                ),
            ),
        ),
        Row(
            "Processes",
            (
                Panel(
                    "Memory",
                    "Resident memory.",
                    "bytes",
                    (
                        Query(
                            "process_resident_memory_bytes{NS} and on (instance) bloomery_build_info",
                            "{{job}} {{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Processor",
                    "Cores that each process uses.",
                    "none",
                    (
                        Query(
                            f"rate(process_cpu_seconds_total{{NS}}{RATE}) and on (instance) bloomery_build_info",
                            "{{job}} {{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Lag of the event loop",
                    "How late 99 of 100 sleepers are woken; all calls are late by as much.",
                    "s",
                    quantiles("bloomery_event_loop_lag_seconds", "job", "instance", of=(0.99,)),
                    bad_above=0.25,
                ),
                Panel(
                    "Calls being served",
                    "256 calls and 4096 streams may be, in each process.",
                    "none",
                    (
                        Query("sum by (job, grpc_type) (bloomery_grpc_inflight_rpcs{NS})", "{{job}} {{grpc_type}}"),
                        Query(rate("bloomery_grpc_rejected_total", "job"), "{{job}} refused a second"),
                    ),
                ),
                Panel(
                    "Errors of background loops",
                    "In an hour; each loop goes on.",
                    "none",
                    (Query("sum by (loop) (increase(bloomery_loop_failures_total{NS}[1h])) > 0", "{{loop}}"),),
                ),
                Panel(
                    "Certificates",
                    "How long the services' own and the authorities that they trust still hold.",
                    "s",
                    (
                        Query(
                            "min by (job, kind) (bloomery_certificate_expiry_timestamp_seconds{NS}) - time()",
                            "{{job}} {{kind}}",
                        ),
                    ),
                    bad_below=14 * 86400,
                ),
                Panel(
                    "Exchanged credentials",
                    "Files that changed in a day, and whether they could be used.",
                    "none",
                    (
                        Query(
                            "sum by (kind, outcome) (increase(bloomery_credential_reloads_total{NS}[1d]))",
                            "{{kind}} {{outcome}}",
                        ),
                    ),
                ),
                Panel(
                    "Audit log",
                    "Calls that were written into it, and refused ones that were too many to be.",
                    "cps",
                    (
                        Query(rate("bloomery_audit_entries_total"), "written"),
                        Query(rate("bloomery_audit_dropped_total"), "left out"),
                    ),
                ),
                Panel(
                    "Audit log on its way",
                    "Calls that the access service has not been told of yet; rises while it is away.",
                    "none",
                    (Query("sum by (service) (bloomery_audit_waiting_entries{NS})", "{{service}}"),),
                ),
                Panel(
                    "Calls that were not let in",
                    "By the reason; nothing where all were.",
                    "cps",
                    (Query(rate("bloomery_auth_failures_total", "reason"), "{{reason}}"),),
                ),
                Panel(
                    "For an operator to look at",
                    "Records with an event, in a day.",
                    "none",
                    (Query("sum by (event) (increase(bloomery_alerts_total{NS}[1d]))", "{{event}}"),),
                ),
            ),
        ),
        Row(
            "Watches",
            (
                Panel(
                    "Open watches",
                    "By what is watched; and the life of streams of all kinds, of which half are over by then.",
                    "none",
                    (
                        Query("sum by (kind) (bloomery_watch_streams{NS})", "{{kind}}"),
                        Query(
                            f"sum(rate(grpc_server_stream_seconds_count{{NS}}{RATE})) * 60", "streams that end a minute"
                        ),
                    ),
                ),
                Panel(
                    "Lag of watches",
                    "From an event's commit to the replica's feed.",
                    "s",
                    quantiles("bloomery_watch_lag_seconds"),
                ),
                Panel(
                    "Events to watchers",
                    "Sent, merged for slow readers, watches taken up again, and watches that the server ended.",
                    "cps",
                    (
                        Query(rate("bloomery_watch_events_total"), "sent"),
                        Query(rate("bloomery_watch_coalesced_total"), "merged"),
                        Query(rate("bloomery_watch_resumes_total"), "taken up again"),
                        Query(rate("bloomery_watch_closed_total", "reason"), "ended: {{reason}}"),
                    ),
                ),
            ),
        ),
        DATA,
    ),
)
