"""Write them into the chart, `deploy/helm/bloomery/files/dashboards/`: `python -m dashboards`, as `make chart` does."""

from pathlib import Path

from dashboards import DASHBOARDS, Dashboard, written

FOLDER = Path(__file__).resolve().parents[2] / "deploy/helm/bloomery/files/dashboards"


def path_of(dashboard: Dashboard) -> Path:
    """Return where a dashboard is kept."""
    return FOLDER / f"{dashboard.uid.removeprefix('bloomery-')}.json"


def main() -> None:
    """Write all dashboards."""
    for dashboard in DASHBOARDS:
        path_of(dashboard).write_text(written(dashboard))


if __name__ == "__main__":
    main()
