"""What an agent is doing: state, holds, sleep, wake, cancel."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.render import agent_object
from raworc.api.agents.schemas import (
    Agent,
    Cancelled,
    HoldChanged,
    Runtime,
    SleepBody,
    StateBody,
    StateChanged,
    WakeBody,
)
from raworc.api.auth import MayGet, MayReport, MayUpdate
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.render import Json
from raworc.api.routes import Route
from raworc.errors import Conflict, RateLimited


async def set_state(
    request: Request, name: str, caller: MayReport, body: Annotated[StateBody, Depends(JsonBody(StateBody))]
) -> Response:
    """Ask for a state by its name; the present one changes nothing."""
    state = await parts_of(request).agent_states.set_state(caller, name, body.state)
    return Json({"success": True, "state": state})


async def hold_busy(request: Request, name: str, caller: MayReport, once: Once) -> Response:
    """Show the agent as busy and pause its idle timer, until `/idle` or the busy timeout."""
    states = parts_of(request).agent_states
    return await once.answer(caller, lambda keep: states.busy(caller, name, keep), _held)


async def release_idle(request: Request, name: str, caller: MayReport, once: Once) -> Response:
    """End a hold; a sleeping agent wakes."""
    states = parts_of(request).agent_states
    return await once.answer(caller, lambda keep: states.idle(caller, name, keep), _held)


async def sleep_agent(
    request: Request, name: str, caller: MayUpdate, body: Annotated[SleepBody, Depends(JsonBody(SleepBody))], once: Once
) -> Response:
    """Sleep after a delay of at least 5 seconds: the sandbox goes, the files stay."""
    states, delay_s = parts_of(request).agent_states, body.delay_seconds
    return await once.answer(
        caller, lambda keep: states.sleep(caller, name, delay_s=delay_s, note=body.note, keep=keep), agent_object
    )


async def wake_agent(
    request: Request, name: str, caller: MayUpdate, body: Annotated[WakeBody, Depends(JsonBody(WakeBody))], once: Once
) -> Response:
    """A fresh sandbox around the same files, and work for it when there is a prompt."""
    states = parts_of(request).agent_states
    return await once.answer(
        caller, lambda keep: states.wake(caller, name, prompt=body.prompt, keep=keep), agent_object
    )


async def cancel_agent(request: Request, name: str, caller: MayUpdate, once: Once) -> Response:
    """Stop the response in work, else drop the newest one waiting."""
    states = parts_of(request).agent_states
    return await once.answer(
        caller,
        lambda keep: states.cancel(caller, name, keep),
        lambda done: {"status": "ok", "agent": done.agent_name, "cancelled": done.cancelled},
    )


async def runtime(request: Request, name: str, caller: MayGet) -> Response:
    """How long the agent has been awake: in all, and since its last wake (0 while it sleeps)."""
    return Json(vars(await parts_of(request).agent_states.runtime(caller, name)))


def _held(state: str) -> dict[str, object]:
    return {"success": True, "state": state, "timeout_status": "paused" if state == "busy" else "active"}


ROUTES: Final = (
    Route("PUT", "/agents/{name}/state", set_state, StateChanged, fails=(Conflict,)),
    Route("POST", "/agents/{name}/busy", hold_busy, HoldChanged, fails=(Conflict,)),
    Route("POST", "/agents/{name}/idle", release_idle, HoldChanged, fails=(Conflict,)),
    Route("POST", "/agents/{name}/sleep", sleep_agent, Agent),
    Route("POST", "/agents/{name}/wake", wake_agent, Agent, fails=(RateLimited,)),
    Route("POST", "/agents/{name}/cancel", cancel_agent, Cancelled),
    Route("GET", "/agents/{name}/runtime", runtime, Runtime),
)
