"""What the chart lets a trainer do, and what not: all other tests of the launcher run as this account too."""

import json
from dataclasses import replace
from typing import Any

from tests.cluster.conftest import Cluster

ALLOWED = {
    ("batch", "jobs"): {"create", "get", "list", "watch", "delete"},
    ("", "pods"): {"get", "list", "watch", "delete"},
    ("", "pods/log"): {"get"},
    ("", "events"): {"list", "watch"},
}
OF_EVERYBODY = {"authentication.k8s.io", "authorization.k8s.io"}
"""By which all who are known ask who they are, and what they may do."""


def rights(cluster: Cluster, namespace: str) -> dict[tuple[str, str], set[str]]:
    """What the API server says that the trainer may do with which resources in a namespace."""
    assert cluster.trainer is not None
    trainer = replace(cluster, kubeconfig=str(cluster.trainer))
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    asked = ("create", "-f", "-", "-o", "json", "--validate=false")
    rules: list[Any] = json.loads(trainer.kubectl(*asked, given=review))["status"]["resourceRules"]
    found: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for group in set(rule["apiGroups"]) - OF_EVERYBODY:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def test_a_trainer_may_do_this_where_its_workers_run_and_nothing_elsewhere(cluster: Cluster) -> None:
    assert rights(cluster, cluster.namespace) == ALLOWED
    assert rights(cluster, "default") == {}
