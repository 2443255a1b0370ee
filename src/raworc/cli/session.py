"""``raworc session``: a conversation with the agents of a space, in a session of their own."""

import sys
from typing import Annotated

import typer

from raworc.cli.chat import prompts_of, typed
from raworc.cli.connection import connected, explain
from raworc.cli.sessions import say
from raworc.cli.stop import FAILED, INTERRUPTED, Stop
from raworc.client import Raworc
from raworc.client.errors import ClientError, NotFound, Unauthorized
from raworc.client.session_shapes import Message, Session

Space = Annotated[str, typer.Argument(metavar="[SPACE]", help="The space.")]
Going = Annotated[str | None, typer.Option("--session", metavar="SESSION", help="Go on with this session.")]

_HELP = """Type a message for the agents of the space and press Enter.
  Esc Enter, or Enter while a ``` block is open    another line
  Ctrl-C                                           stop waiting for the answer; clear what you typed
  Ctrl-D or /quit                                  leave; the session stays"""


def session(space: Space = "default", *, going: Going = None) -> None:
    """Talk with the agents of a space. Ctrl-C stops waiting, Ctrl-D leaves; the session stays."""
    with connected() as client:
        found = client.sessions.get(going) if going else client.sessions.create(space=space)
        if not sys.stdin.isatty():
            _read(client, found)
            return
        typer.echo(f"Session {found.id} of space '{found.space}'. Ctrl-D leaves, '/help' tells more.")
        for prompt in typed(found.space, _HELP):
            _answer(client, found, prompt)
        typer.echo(f"Go on with 'raworc session --session {found.id}'.")


def _read(client: Raworc, found: Session) -> None:
    """One message a line of standard input; the first that is not answered ends it."""
    for prompt in prompts_of(line.decode(errors="replace").rstrip("\r\n") for line in sys.stdin.buffer):
        answer = _answer(client, found, prompt)
        if answer is None or answer.role == "system":
            raise Stop(f"a message was not answered, the rest was not sent; the session is '{found.id}'", code=FAILED)


def _answer(client: Raworc, found: Session, prompt: str) -> Message | None:
    """The answer, once it is shown; None where there is none yet."""
    try:
        answer = client.sessions.ask(found.id, prompt)
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise Stop(f"it goes on; see 'raworc sessions messages {found.id}'", code=INTERRUPTED) from None
        typer.secho(f"it goes on; see 'raworc sessions messages {found.id}'", fg="yellow", err=True)
        return None
    except (NotFound, Unauthorized):  # nothing that is typed here would change that
        raise
    except ClientError as error:
        if not sys.stdin.isatty():
            raise
        typer.secho(explain(error), fg="red", err=True)
        return None
    say(answer)
    return answer
