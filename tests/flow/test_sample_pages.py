"""The pages that speak of the sample show the dataset version that it becomes."""

from pathlib import Path

from bloomery import Client

DOCS = Path(__file__).parents[2] / "docs"


def test_the_pages_show_the_content_hash_of_the_version_that_they_build(client: Client, examples_dir: Path) -> None:
    project = client.create_project("sample")
    project.import_folder(examples_dir / "blood-cells")
    version, again = (project.build_dataset("cells-v", split="70/20/10", seed=7).wait() for _ in range(2))
    shown = {
        "getting-started.md": f"\ncontent      {version.content_hash}\n",
        "concepts.md": f"\n  datasetHash: {version.content_hash}\n",
        "python.md": f" {version.content_hash[:19]}\n",
    }
    assert [page for page, line in shown.items() if line not in (DOCS / page).read_text()] == []
    assert (again.version, again.reused, version.reused) == (1, True, False)
