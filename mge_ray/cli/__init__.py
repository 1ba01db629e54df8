"""The command line: parse, call, show. Every expected error is one line on standard error.

Exit codes: 0 all atoms succeeded, 1 some failed, 2 bad input, 3 stopped early with state kept.
"""

from __future__ import annotations

import sys

import typer
from pydantic import ValidationError

from mge_ray.adapters.logs import configure_logs
from mge_ray.cli import (
    atomize,
    budget,
    cache,
    check,
    control,
    db,
    doctor,
    edit,
    explain,
    init,
    monitoring,
    plan,
    report,
    resume,
    run,
    schema,
    serve,
    simulate,
    status,
    submit,
    tenant,
    token,
)
from mge_ray.cli.exits import BAD_INPUT, STOPPED_EARLY
from mge_ray.cli.on_ray import JobStoppedError
from mge_ray.domain.errors import EngineUnavailableError, MgeRayError

INTERRUPTED = 130

app = typer.Typer(
    name="mge-ray",
    help="Execute plans of LLM code generation on Ray: wide, within a hard budget, verified by running the code.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
AT_WORK = (run, resume, serve, submit, control, budget, edit, status, explain, report)
AROUND = (plan, atomize, check, cache, db, init, simulate, schema, monitoring, doctor, tenant, token)
for module in (*AT_WORK, *AROUND):
    module.register(app)


def main() -> None:
    """Run the command line and exit."""
    try:
        configure_logs("cli", level="warning")
        code = app(standalone_mode=False)
    except (EngineUnavailableError, JobStoppedError) as error:
        _say(str(error))
        sys.exit(STOPPED_EARLY)
    except MgeRayError as error:
        _say(str(error))
        sys.exit(BAD_INPUT)
    except ValidationError as error:
        first = error.errors()[0]
        _say(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        sys.exit(BAD_INPUT)
    except typer.Abort:
        sys.exit(STOPPED_EARLY)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(STOPPED_EARLY)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own: a wrong flag or argument
            _say(error.format_message())
            sys.exit(BAD_INPUT)
        raise
    if code == INTERRUPTED:  # what typer makes of a Ctrl-C
        _say("interrupted")
        sys.exit(STOPPED_EARLY)
    sys.exit(code if isinstance(code, int) else 0)


def _say(message: str) -> None:
    sys.stderr.write(f"mge-ray: {message}\n")
