"""Between rows and values: what has an inner structure is a JSON column."""

from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter

from bloomery_dataset.model import Cleanup, Dataset, Failure, Plan, Product, Reference, Spec, State, Version

Row = sa.Row[Any]
T = TypeVar("T")
_SPEC, _PLAN, _PRODUCT, _FAILURE = (
    TypeAdapter(Spec),
    TypeAdapter(Plan),
    TypeAdapter(Product),
    TypeAdapter(Failure),
)


def dataset_of(row: Row) -> Dataset:
    """A dataset from its row with `latest_version`."""
    return Dataset(
        uid=row.uid,
        project=row.project,
        dataset=row.dataset,
        display_name=row.display_name,
        labels=row.labels,
        create_time=row.create_time,
        update_time=row.update_time,
        revision=row.revision,
        latest_version=row.latest_version or 0,
        project_uid=row.project_uid,
        held=row.held,
    )


def version_of(row: Row) -> Version:
    """A version from its row joined with its dataset's ids."""
    return Version(
        uid=row.uid,
        project=row.project,
        project_uid=row.project_uid,
        dataset=row.dataset,
        number=row.number or 0,
        spec=_SPEC.validate_python(row.spec),
        state=State(row.state),
        create_time=row.create_time,
        update_time=row.update_time,
        sequence=row.sequence,
        done_count=row.done_count,
        item_count=row.item_count,
        plan=_optional(_PLAN, row.plan),
        product=_optional(_PRODUCT, row.product),
        failure=_optional(_FAILURE, row.failure),
    )


def reference_of(row: Row) -> Reference:
    """A reference from its row joined with its version's and dataset's."""
    project = f"projects/{row.project}"
    version = f"{project}/datasets/{row.dataset}/versions/{row.number}"
    title = row.title or row.holder.removeprefix(f"{project}/")
    return Reference(version, row.holder, title, row.create_time)


def cleanup_of(row: Row) -> Cleanup:
    """A cleanup from its row."""
    return Cleanup(row.uid, row.ordinal, row.project, row.holder, row.prefix, row.last_time)


def spec_json(spec: Spec) -> object:
    """The column of a spec."""
    return _SPEC.dump_python(spec, mode="json")


def plan_json(plan: Plan) -> object:
    """The column of a plan."""
    return _PLAN.dump_python(plan, mode="json")


def product_json(product: Product) -> object:
    """The column of a product."""
    return _PRODUCT.dump_python(product, mode="json")


def failure_json(failure: Failure) -> object:
    """The column of a failure."""
    return _FAILURE.dump_python(failure, mode="json")


def _optional(adapter: TypeAdapter[T], value: object) -> T | None:
    return None if value is None else adapter.validate_python(value)
