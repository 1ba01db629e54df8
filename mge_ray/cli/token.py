"""`mge-ray token`: who may use the service, as whom. A token is shown once, when it is made."""

from __future__ import annotations

import json
import re
import time
from typing import Annotated

import typer
from rich.table import Table

from mge_ray.adapters.journal import StoredToken, create_token, list_tokens, revoke_token
from mge_ray.cli.change import ControlError, user_name
from mge_ray.cli.console import console
from mge_ray.cli.options import DbOption, JsonOption, database
from mge_ray.cli.status import moment
from mge_ray.domain.access import Role

UNITS_S = {"m": 60.0, "h": 3_600.0, "d": 86_400.0}
LONGEST_S = 3_650 * 86_400.0


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(help="Make, list and revoke tokens of the service.", no_args_is_help=True)
    app.add_typer(group, name="token")

    @group.command("create")
    def create(
        tenant: Annotated[str, typer.Option(help="Whose executions it sees and starts.")],
        role: Annotated[
            Role,
            typer.Option(help="viewer reads; operator starts and steers, too; admin changes money and tokens, too."),
        ],
        name: Annotated[str, typer.Option(help="For the list.")] = "",
        expires: Annotated[str | None, typer.Option(metavar="TIME", help="30d, 12h or 90m from now. [never]")] = None,
        db: DbOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Make a token and print it: it is kept nowhere and cannot be shown again."""
        now = time.time()
        expires_at = None if expires is None else now + _seconds(expires)
        url = database(db)
        secret, token = create_token(
            url, tenant=tenant, role=role, by=user_name(), name=name, expires_at=expires_at, now=now
        )
        if as_json:
            typer.echo(json.dumps({"token": secret, **_row(token)}, indent=2))
        else:
            typer.echo(secret)
            typer.echo(f"token {token.token_id}: {_told(token)}", err=True)

    @group.command("list")
    def list_(
        tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
        db: DbOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """List tokens, without what they are."""
        tokens = list_tokens(database(db), tenant)
        if as_json:
            typer.echo(json.dumps([_row(token) for token in tokens], indent=2))
            return
        table = Table("token", "tenant", "role", "name", "made", "standing", box=None, pad_edge=False)
        for token in tokens:
            cells = (token.token_id, token.tenant, token.role.value, token.name, moment(token.created_at))
            table.add_row(*cells, _standing(token))
        console().print(table if tokens else "no tokens yet")

    @group.command("revoke")
    def revoke(
        token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="As `token list` shows it.")],
        db: DbOption = None,
    ) -> None:
        """Make a token open nothing; a service notices within seconds."""
        url = database(db)
        typer.echo(f"token {token_id}: {_told(revoke_token(url, token_id, by=user_name()))}")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,9})([mhd])", text)
    seconds = int(found[1]) * UNITS_S[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST_S:
        raise ControlError(f"--expires {text[:40]!r} is no time: say 30d, 12h or 90m, ten years at most")
    return seconds


def _told(token: StoredToken) -> str:
    return f"{token.role.value} of tenant {token.tenant!r}, {_standing(token)}"


def _standing(token: StoredToken) -> str:
    if token.revoked_at is not None:
        return f"revoked {moment(token.revoked_at)}"
    if token.expires_at is None:
        return "does not expire"
    return f"{'expires' if token.valid(time.time()) else 'expired'} {moment(token.expires_at)}"


def _row(token: StoredToken) -> dict[str, str | None]:
    return {
        "token_id": token.token_id,
        "tenant": token.tenant,
        "role": token.role.value,
        "name": token.name,
        "created_at": moment(token.created_at),
        "expires_at": None if token.expires_at is None else moment(token.expires_at),
        "revoked_at": None if token.revoked_at is None else moment(token.revoked_at),
    }
