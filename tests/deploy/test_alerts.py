"""The alerts: that promtool takes the rules, that each fires when it should and not otherwise, and has its runbook."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from render_chart import CHART

ROOT = CHART.parents[2]
FILES = sorted((CHART / "files/alerts").glob("*.yaml"))
CASES = yaml.safe_load(Path(__file__).with_name("alerts.yaml").read_text())


Object = dict[str, Any]


def alerts() -> Iterator[tuple[Path, Object]]:
    for file in FILES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from ((file, rule) for rule in group["rules"] if "alert" in rule)


ALERTS = {rule["alert"]: rule for _, rule in alerts()}
FILE_OF = {rule["alert"]: file for file, rule in alerts()}


def test_promtool_takes_the_rules(promtool: Path) -> None:
    answer = subprocess.run([promtool, "check", "rules", "--lint=all", "--lint-fatal", *FILES], capture_output=True)
    assert answer.returncode == 0, answer.stdout.decode() + answer.stderr.decode()


def test_each_alert_has_its_cases() -> None:
    assert CASES.keys() == ALERTS.keys()
    assert len(ALERTS) == len(list(alerts()))


# Seconds, and minutes on a machine with much else to do.
@pytest.mark.timeout(600)
def test_each_alert_fires_when_it_should_and_not_otherwise(promtool: Path, tmp_path: Path) -> None:
    # promtool evaluates all rules of a file at each step of a test.
    tests: dict[tuple[Path, str], list[Object]] = {}
    for name, cases in CASES.items():
        for kind, case in cases.items():
            key = FILE_OF[name], case.get("every", "1m")
            tests.setdefault(key, []).append(_test(name, case, key[1], fires=kind.startswith("fires")))
    files = []
    for (rules, every), group in tests.items():
        files.append(tmp_path / f"{rules.stem}-{every}.yaml")
        # Without an order of theirs groups are evaluated at random: alerts would miss what is recorded for them.
        order = [each["name"] for each in yaml.safe_load(rules.read_text())["groups"]]
        about = {"rule_files": [str(rules)], "evaluation_interval": every, "group_eval_order": order}
        files[-1].write_text(yaml.safe_dump({**about, "tests": group}, sort_keys=False))
    answer = subprocess.run([promtool, "test", "rules", *files], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def _test(name: str, case: Mapping[str, Any], every: str, *, fires: bool) -> Object:
    expression = f'count by (alertname) (ALERTS{{alertname="{name}", alertstate="firing"}})'
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1}] if fires else []
    series = [{"series": labels, "values": values} for labels, values in case["series"].items()]
    return {
        "name": f"{name} {'fires' if fires else 'is quiet'}",
        "interval": every,
        "input_series": series,
        "promql_expr_test": [{"expr": expression, "eval_time": case["at"], "exp_samples": samples}],
    }


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_it_means_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    told = rule["annotations"]
    assert told.keys() == {"summary", "description", "runbook_url"}
    path, _, anchor = told["runbook_url"].partition("#")
    assert anchor == name.lower()
    headings = [line.removeprefix("## ") for line in (ROOT / path).read_text().splitlines() if line.startswith("## ")]
    assert name in headings
