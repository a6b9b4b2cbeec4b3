"""The trainer's own metrics; seconds and bytes, no ids in labels."""

from prometheus_client import Counter, Gauge, Histogram

from bloomery_kit.alerts import ALERTS
from bloomery_kit.metrics import REGISTRY
from bloomery_trainer.model import SUCCESSORS, TERMINAL, Kind, Outcome

_LONG = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)

JOBS = Gauge("bloomery_training_jobs", "Jobs by state.", ("state",), registry=REGISTRY)
WAITING = Gauge("bloomery_training_waiting_jobs", "Jobs that wait, by reason.", ("reason",), registry=REGISTRY)
TRANSITIONS = Counter("bloomery_training_transitions_total", "Moves.", ("from_state", "to_state"), registry=REGISTRY)
FINISHED = Counter(
    "bloomery_training_finished_total", "Jobs that became terminal.", ("kind", "outcome", "reason"), registry=REGISTRY
)
ATTEMPTS = Counter("bloomery_training_attempts_total", "Attempts begun.", ("kind",), registry=REGISTRY)
FAULTS = ("none", "work", "infrastructure")
ENDED = Counter(
    "bloomery_training_attempts_ended_total",
    "Attempts that ended, by outcome and by what was at fault: nothing, the work itself, or what carries it.",
    ("outcome", "fault"),
    registry=REGISTRY,
)
QUEUE_SECONDS = Histogram(
    "bloomery_training_queue_seconds", "From waiting to launched.", buckets=_LONG, registry=REGISTRY
)
PREPARE_SECONDS = Histogram(
    "bloomery_training_prepare_seconds", "From the worker's first call to work.", buckets=_LONG, registry=REGISTRY
)
RUN_SECONDS = Histogram(
    "bloomery_training_run_seconds", "From the first work to the end.", ("kind",), buckets=_LONG, registry=REGISTRY
)
GPU_SECONDS = Counter("bloomery_training_gpu_seconds_total", "Device time of ended attempts.", registry=REGISTRY)
SILENCE = Gauge("bloomery_training_oldest_heartbeat_seconds", "Longest silence of a worker.", registry=REGISTRY)
STALLED = Gauge("bloomery_training_stalled_jobs", "Jobs whose worker reports a stall.", registry=REGISTRY)
UNREADABLE = Gauge(
    "bloomery_training_unreadable_jobs",
    "Jobs at work or waiting whose rows cannot be read; the log names each once.",
    registry=REGISTRY,
)
REPORTS = Counter("bloomery_training_reports_total", "Reports by what became of them.", ("result",), registry=REGISTRY)
CHECKPOINTS = Counter("bloomery_training_checkpoints_total", "Checkpoints by outcome.", ("result",), registry=REGISTRY)
CHECKPOINT_BYTES = Counter("bloomery_training_checkpoint_bytes_total", "Bytes of checkpoints.", registry=REGISTRY)

LEADER = Gauge("bloomery_reconciler_leader", "1 on the replica that reconciles.", registry=REGISTRY)
EPOCH = Gauge("bloomery_reconciler_epoch", "Epoch of the lease.", registry=REGISTRY)
LAST_SUCCESS = Gauge("bloomery_reconciler_last_success_seconds", "Unix time of the last pass.", registry=REGISTRY)
PASS_SECONDS = Histogram("bloomery_reconciler_pass_seconds", "Time of a pass.", registry=REGISTRY)
FENCED = Counter("bloomery_reconciler_fenced_writes_total", "Writes refused by the epoch.", registry=REGISTRY)
ORPHANS = Counter("bloomery_reconciler_orphans_total", "Launched things without a job.", registry=REGISTRY)

K8S_REQUESTS = Counter(
    "bloomery_k8s_requests_total",
    "Requests to the API server; `code` is 0 where no answer came.",
    ("verb", "resource", "code"),
    registry=REGISTRY,
)
K8S_WATCH_RESTARTS = Counter(
    "bloomery_k8s_watch_restarts_total",
    "Watches that ended: as agreed, by a timeout, because they were too old, or by another error.",
    ("reason",),
    registry=REGISTRY,
)

WATCHES = Gauge("bloomery_watch_streams", "Open watches.", ("kind",), registry=REGISTRY)
WATCH_EVENTS = Counter("bloomery_watch_events_total", "Events sent.", registry=REGISTRY)
WATCH_COALESCED = Counter("bloomery_watch_coalesced_total", "Measurements merged for slow readers.", registry=REGISTRY)
WATCH_LAG = Histogram(
    "bloomery_watch_lag_seconds",
    "From an event's commit to the replica's feed.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
WATCH_RESUMES = Counter("bloomery_watch_resumes_total", "Watches that began with a cursor.", registry=REGISTRY)
WATCH_CLOSED = Counter("bloomery_watch_closed_total", "Watches ended by the server.", ("reason",), registry=REGISTRY)

UNSAFE_FILE = "unsafe_file"
"""The alert of a file that would run code."""


def _begin_at_zero() -> None:
    """Let series whose labels are known begin at 0: the first increase of one that was not there shows in no rate."""
    ALERTS.labels(UNSAFE_FILE)
    for kind in Kind:
        ATTEMPTS.labels(kind.name)
        RUN_SECONDS.labels(kind.name)
        for state in TERMINAL:
            FINISHED.labels(kind.name, state.name, "")
    for outcome in Outcome:
        for fault in FAULTS:
            ENDED.labels(outcome, fault)
    for result in ("kept", "ignored"):
        CHECKPOINTS.labels(result)
    for result in ("new", "heartbeat", "repeated"):
        REPORTS.labels(result)
    for reason in ("age", "drain"):
        WATCH_CLOSED.labels(reason)
    forget_jobs()


def forget_jobs() -> None:
    """Tell nothing of the jobs any more, as whoever leads now tells it."""
    for state in SUCCESSORS:
        JOBS.labels(state.name).set(0)
    WAITING.clear()
    for gauge in (SILENCE, STALLED, UNREADABLE):
        gauge.set(0)


_begin_at_zero()
