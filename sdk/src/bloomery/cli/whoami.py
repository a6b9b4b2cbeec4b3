"""bloomery whoami."""

from bloomery.cli._options import Output, OutputOption, connect
from bloomery.cli._output import show

EXAMPLE = "Example: bloomery whoami"


def run(output: OutputOption = Output.table) -> None:
    """Show who you are to the server, and what you may do."""
    with connect() as client:
        found = client.whoami()
    roles = ", ".join(f"{role} in {project}" for project, role in found.roles.items())
    rows = {
        "who": found.subject,
        "known by": {"owner": "the owner's token", "token": "a token", "oidc": "the issuer"}[found.means],
        "everywhere": found.role or "no role",
        "projects": roles,
        "groups": ", ".join(found.groups),
        "until": found.expire_time,
    }
    show(found.proto, rows, output)
