"""Jobs and their workers."""

from dashboards.grafana import Dashboard, Panel, Query, Row
from dashboards.queries import most, quantiles, rate

TRAINING = Dashboard(
    "bloomery-training",
    "Bloomery / Training fleet",
    "Jobs and their workers: what waits and why, what runs, what ended and how.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Jobs by state",
                    "Jobs that are not over.",
                    "none",
                    (Query(most("bloomery_training_jobs", "state"), "{{state}}"),),
                ),
                Panel(
                    "Waiting jobs by reason",
                    "QUOTA_WAIT passes by itself, UNSCHEDULABLE does not.",
                    "none",
                    (Query(most("bloomery_training_waiting_jobs", "reason"), "{{reason}}"),),
                ),
                Panel(
                    "Silence, stalls, damage",
                    "Seconds of the longest silence of a worker; jobs without a step for long, and unreadable ones.",
                    "none",
                    (
                        Query(most("bloomery_training_oldest_heartbeat_seconds"), "longest silence"),
                        Query(most("bloomery_training_stalled_jobs"), "stalled jobs"),
                        Query(most("bloomery_training_unreadable_jobs"), "unreadable jobs"),
                    ),
                ),
            ),
        ),
        Row(
            "What becomes of jobs",
            (
                Panel(
                    "Finished jobs",
                    "Jobs that became terminal, in an hour.",
                    "none",
                    (
                        Query(
                            "sum by (kind, outcome) (increase(bloomery_training_finished_total{NS}[1h]))",
                            "{{kind}} {{outcome}}",
                        ),
                    ),
                ),
                Panel(
                    "Ended attempts by fault",
                    "Attempts that ended in an hour: by themselves, by the work, or by what carries it.",
                    "none",
                    (Query("sum by (fault) (increase(bloomery_training_attempts_ended_total{NS}[1h]))", "{{fault}}"),),
                ),
                Panel(
                    "Reasons of failures",
                    "Why jobs failed or were cancelled, in an hour; nothing where none was.",
                    "none",
                    (
                        Query(
                            'sum by (reason) (increase(bloomery_training_finished_total{NS, reason!=""}[1h])) > 0',
                            "{{reason}}",
                        ),
                    ),
                ),
                Panel(
                    "Moves",
                    "Changes of jobs' states.",
                    "cps",
                    (
                        Query(
                            rate("bloomery_training_transitions_total", "from_state", "to_state"),
                            "{{from_state}} to {{to_state}}",
                        ),
                    ),
                ),
                Panel(
                    "Begun attempts",
                    "By kind of job, in an hour.",
                    "none",
                    (Query("sum by (kind) (increase(bloomery_training_attempts_total{NS}[1h]))", "{{kind}}"),),
                ),
                Panel(
                    "GPU time",
                    "Time of GPUs that ended attempts had, in a day.",
                    "s",
                    (Query("sum(increase(bloomery_training_gpu_seconds_total{NS}[1d]))", "GPUs"),),
                ),
            ),
        ),
        Row(
            "How long it takes",
            (
                Panel(
                    "Waiting for a start",
                    "From waiting to launched, over an hour.",
                    "s",
                    quantiles("bloomery_training_queue_seconds", of=(0.5, 0.9), over="[1h]"),
                ),
                Panel(
                    "Preparing",
                    "From the worker's first call to work: data, base weights, checks; over an hour.",
                    "s",
                    quantiles("bloomery_training_prepare_seconds", of=(0.5, 0.9), over="[1h]"),
                ),
                Panel(
                    "Running",
                    "From the first work to the end, by kind, over six hours.",
                    "s",
                    quantiles("bloomery_training_run_seconds", "kind", of=(0.5,), over="[6h]"),
                ),
            ),
        ),
        Row(
            "What workers send",
            (
                Panel(
                    "Reports",
                    "With news, without, or once more.",
                    "cps",
                    (Query(rate("bloomery_training_reports_total", "result"), "{{result}}"),),
                ),
                Panel(
                    "Checkpoints",
                    "In an hour; those that were not what was announced are ignored.",
                    "none",
                    (Query("sum by (result) (increase(bloomery_training_checkpoints_total{NS}[1h]))", "{{result}}"),),
                ),
                Panel(
                    "Bytes of checkpoints",
                    "What is written into the object store.",
                    "Bps",
                    (Query(rate("bloomery_training_checkpoint_bytes_total"), "checkpoints"),),
                ),
            ),
        ),
    ),
)
