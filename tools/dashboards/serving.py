"""Predictions, deployments and replicas."""

from dashboards.grafana import Dashboard, Panel, Query, Row
from dashboards.queries import most, ninety, quantiles, rate

SERVING = Dashboard(
    "bloomery-serving",
    "Bloomery / Serving",
    "Predictions, deployments, and the replicas that answer.",
    (
        Row(
            "Predictions",
            (
                Panel(
                    "Predictions by model",
                    "The fifty models that were used last have names of their own.",
                    "reqps",
                    (Query(rate("bloomery_predictions_total", "model", "variant"), "{{model}} {{variant}}"),),
                ),
                Panel(
                    "Predictions by code",
                    "RESOURCE_EXHAUSTED is refused with a delay, as more is asked for than can be answered.",
                    "reqps",
                    (Query(rate("bloomery_predictions_total", "code"), "{{code}}"),),
                ),
                Panel(
                    "Time of predictions",
                    "From the request to the answer.",
                    "s",
                    quantiles("bloomery_prediction_stage_seconds", where='stage="total"', of=(0.5, 0.9, 0.99)),
                ),
                Panel(
                    "Where time goes",
                    "Seconds of each stage in a second: of ten seconds, ten predictions at once spend one each.",
                    "none",
                    (
                        Query(
                            rate("bloomery_prediction_stage_seconds_sum", "stage", where='stage!="total"'),
                            "{{stage}}",
                        ),
                    ),
                ),
                Panel(
                    "How busy",
                    "Predictions that run or wait beside how many may; more are refused.",
                    "none",
                    (
                        Query("sum(bloomery_predictions_admitted{NS})", "run or wait"),
                        Query("sum(bloomery_predictions_running{NS})", "run, with frames of streams"),
                        Query("sum(bloomery_predictions_limit{NS})", "may at most"),
                        Query("sum(bloomery_prediction_streams{NS})", "streams"),
                    ),
                ),
                Panel(
                    "Results that wait for the registry",
                    "Results of jobs that could not be recorded yet.",
                    "none",
                    (Query(most("bloomery_inference_parked_results"), "results"),),
                ),
            ),
        ),
        Row(
            "Deployments and replicas",
            (
                Panel(
                    "Deployments",
                    "As wanted, on the way there, or unable to.",
                    "none",
                    (Query(most("bloomery_serving_deployments", "state"), "{{state}}"),),
                ),
                Panel(
                    "Replicas",
                    "By runtime; one that was removed is silent for an hour and then forgotten.",
                    "none",
                    (Query(most("bloomery_serving_replicas", "runtime", "state"), "{{runtime}} {{state}}"),),
                ),
                Panel(
                    "Models on replicas",
                    "All models of all replicas, by state.",
                    "none",
                    (Query("sum by (state) (bloomery_replica_models{NS})", "{{state}}"),),
                ),
                Panel(
                    "Loads",
                    "Tries to make a model ready, in an hour; LOADING is tried again soon.",
                    "none",
                    (
                        Query("sum by (state) (increase(bloomery_replica_loads_total{NS}[1h]))", "{{state}}"),
                        Query("sum(increase(bloomery_replica_losses_total{NS}[1h]))", "restarts of runtimes"),
                    ),
                ),
                Panel(
                    "From a plan to ready replicas",
                    "Until all that a plan asks for is ready or failed, and of that to load one model, over an hour.",
                    "s",
                    (
                        Query(ninety("bloomery_replica_convergence_seconds"), "plan p90"),
                        Query(ninety("bloomery_replica_load_seconds"), "model p90"),
                    ),
                ),
                Panel(
                    "Runtimes that answer",
                    "As the agent beside each sees it.",
                    "none",
                    (Query("count(bloomery_replica_runtime_up{NS} == 1) or vector(0)", "answer"),),
                ),
            ),
        ),
        Row(
            "Triton",
            (
                Panel(
                    "Requests to Triton",
                    "By what became of them.",
                    "reqps",
                    (
                        Query(rate("nv_inference_request_success"), "answered"),
                        Query(rate("nv_inference_request_failure"), "failed"),
                    ),
                ),
                Panel(
                    "Waiting for each working second",
                    "Time of requests in the queue for each second of work; above 1 it is full.",
                    "none",
                    (
                        Query(
                            f"{rate('nv_inference_queue_duration_us')}"
                            f" / clamp_min({rate('nv_inference_compute_infer_duration_us')}, 1)",
                            "waiting",
                        ),
                    ),
                    bad_above=1,
                ),
                Panel(
                    "Images in a batch",
                    "How many images Triton works on together.",
                    "none",
                    (
                        Query(
                            f"{rate('nv_inference_count')} / clamp_min({rate('nv_inference_exec_count')}, 0.001)",
                            "images",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
