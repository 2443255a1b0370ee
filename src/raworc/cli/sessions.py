"""``raworc sessions``: conversations with the agents of spaces, and what was said in them."""

import json
import sys
from typing import Annotated, Any

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json
from raworc.cli.output import console, moment, print_fields, print_json, print_rows, printable
from raworc.cli.stop import FAILED, INTERRUPTED, Stop
from raworc.client.session_shapes import Message, Session

app = typer.Typer(no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.", show_default=False)]
Space = Annotated[str | None, typer.Option(help="The space. [default: default]")]
Metadata = Annotated[str | None, typer.Option(metavar="JSON", help="An object of your own.")]
State = Annotated[str | None, typer.Option(help="Those that stand so: IDLE, BUSY, PAUSED, SUSPENDED, ...")]
Limit = Annotated[int, typer.Option(help="The newest so many.", min=1, max=1000)]
Content = Annotated[str, typer.Argument(metavar="TEXT", help="What to say; '-' reads standard input.")]


@app.command("list")
def list_(
    *,
    space: Annotated[str | None, typer.Option(help="Those of this space.")] = None,
    state: State = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List the sessions that you may see, the newest first."""
    with connected() as client:
        found = client.sessions.list(space=space, state=None if state is None else state.upper(), limit=limit)
    if as_json:
        print_json(found)
        return
    print_rows(
        ("SESSION", "SPACE", "STATE", "CREATED (UTC)", "LAST ACTIVITY (UTC)"),
        [(one.id, one.space, one.state, moment(one.created_at), moment(one.last_activity_at)) for one in found],
    )


@app.command()
def create(*, space: Space = None, metadata: Metadata = None, as_json: Json = False) -> None:
    """Create a session; prints its id."""
    with connected() as client:
        made = client.sessions.create(space=space, metadata=_object(metadata))
    if as_json:
        print_json(made)
    else:
        typer.echo(made.id)


@app.command()
def get(session: Id, *, as_json: Json = False) -> None:
    """Show one session."""
    with connected() as client:
        show(client.sessions.get(session), as_json=as_json)


@app.command()
def update(session: Id, *, space: Space = None, metadata: Metadata = None, as_json: Json = False) -> None:
    """Move a session to another space, or give it other metadata."""
    with connected() as client:
        show(client.sessions.update(session, space=space, metadata=_object(metadata)), as_json=as_json)


@app.command()
def pause(session: Id, *, as_json: Json = False) -> None:
    """Freeze a session: its memory is kept, it uses no processor. Messages wait until it is resumed."""
    with connected() as client:
        show(client.sessions.pause(session), as_json=as_json)


@app.command()
def suspend(session: Id, *, as_json: Json = False) -> None:
    """Let a session sleep: its files are kept, its processes end. A message wakes it."""
    with connected() as client:
        show(client.sessions.suspend(session), as_json=as_json)


@app.command()
def resume(session: Id, *, as_json: Json = False) -> None:
    """Go on with a session that is paused or suspended."""
    with connected() as client:
        show(client.sessions.resume(session), as_json=as_json)


@app.command()
def remix(session: Id, *, space: Space = None, metadata: Metadata = None, as_json: Json = False) -> None:
    """Create a session that begins with the files of another one; prints its id."""
    with connected() as client:
        made = client.sessions.remix(session, space=space, metadata=_object(metadata))
    if as_json:
        print_json(made)
    else:
        typer.echo(made.id)


@app.command()
def terminate(session: Id, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """End a session for good: what was said stays readable, its files are removed."""
    with connected() as client:
        if not yes and not typer.confirm(f"End session '{session}' and remove its files?", err=True):
            raise Stop("nothing was ended")
        client.sessions.terminate(session)
    typer.echo(f"Ended '{session}'.")


@app.command()
def messages(session: Id, *, limit: Limit = 100, as_json: Json = False) -> None:
    """Show what was said, the oldest first."""
    with connected() as client:
        found = client.sessions.messages(session, limit=limit)
    if as_json:
        print_json(found)
        return
    for one in found:
        say(one, with_role=True)


@app.command()
def send(
    session: Id,
    text: Content,
    *,
    background: Annotated[bool, typer.Option("--background", help="Do not wait; print the message's id.")] = False,
    as_json: Json = False,
) -> None:
    """Say something and print the answer. Ctrl-C stops waiting, the work goes on."""
    content = sys.stdin.read() if text == "-" else text
    with connected() as client:
        sent = client.sessions.send(session, content)
        if background:
            _announce(sent, as_json=as_json)
            return
        try:
            answer = client.sessions.answer(sent)
        except KeyboardInterrupt:
            raise Stop(f"it goes on; see 'raworc sessions messages {sent.session_id}'", code=INTERRUPTED) from None
    if as_json:
        print_json(answer)
    else:
        say(answer)
    if answer.role == "system":
        raise Stop("the message was not answered", code=FAILED)


@app.command()
def clear(session: Id) -> None:
    """Remove all messages of a session, also from what models are told."""
    with connected() as client:
        count = client.sessions.clear_messages(session)
    typer.echo(f"Removed {count} messages.")


def show(session: Session, *, as_json: bool) -> None:
    """A session for people or programs."""
    if as_json:
        print_json(session)
        return
    shown = {
        "session": session.id,
        "space": session.space,
        "state": session.state,
        "created": f"{moment(session.created_at)} by {session.created_by}",
        "started": moment(session.started_at),
        "last activity": moment(session.last_activity_at),
        "remix of": session.parent_session_id or "",
        "ended": moment(session.terminated_at) if session.terminated_at else "",
        "why": session.termination_reason or "",
        "metadata": json.dumps(session.metadata, ensure_ascii=False) if session.metadata else "",
    }
    print_fields([(name, value) for name, value in shown.items() if value])


def say(message: Message, *, with_role: bool = False) -> None:
    """A message as text; why there is no answer, in another colour."""
    style = {"user": "bold", "system": "yellow"}.get(message.role, "")
    head = f"{message.role}  " if with_role else ""
    console().print(printable(head + message.content), style=style)


def _announce(message: Message, *, as_json: bool) -> None:
    if as_json:
        print_json(message)
    else:
        typer.echo(message.id)


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        given: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Stop(f"'--metadata' is no JSON ({error}): write an object, as in '{{\"team\": \"a\"}}'") from None
    if not isinstance(given, dict):
        raise Stop("'--metadata' must be a JSON object, as in '{\"team\": \"a\"}'")
    return given  # pyright: ignore[reportUnknownVariableType]  JSON of the user's own
