"""What a training would take, for people."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from bloomery._names import counted, id_of, size
from bloomery.cli._options import Output
from bloomery.cli._output import as_json, dump, duration, fields
from bloomery.cli._plans import tell

if TYPE_CHECKING:
    from bloomery import Estimate

_HOW = {
    "JOBS": "{} that succeeded: {}",
    "PREFLIGHTS": "the preflight of {}, the steps alone: {}",
    "NONE": "nothing is known: no training of the project is alike; the job's own preflight will say",
}


def show_estimate(found: "Estimate", output: Output) -> None:
    """Write an estimate, with what is odd about the data."""
    if output is not Output.table:
        dump(asdict(found) | {"warnings": [as_json(one) for one in found.warnings]}, output)
        return
    spread = f" ({duration(found.least)} to {duration(found.most)})" if len(found.earlier) > 1 else ""
    earlier = counted(len(found.earlier), "training"), ", ".join(map(id_of, found.earlier))
    fields(
        {
            "takes": f"about {duration(found.seconds)}{spread}" if found.seconds else "",
            "memory": f"{size(found.memory_bytes)} for a step" if found.memory_bytes else "",
            "from": _HOW[found.source].format(*earlier),
        }
    )
    for one in found.warnings:
        tell(f"{one.code}: {one.message}" + (f"; {one.hint}" if one.hint else ""), "warning")
