"""Every refusal names the next step."""

import pytest

from raworc.cli.connection import explain
from raworc.client import errors

CASES = {
    "token": (errors.Unauthorized("Invalid or expired token"), "Invalid or expired token: run 'raworc login'"),
    "down": (errors.Unreachable("no server at http://x"), "raworc up', or name another with 'raworc login --url'"),
    "broken": (errors.Unreachable("the connection to http://x broke: EOF"), "broke: EOF"),
    "another program": (errors.BadAnswer("got status 200"), "check the address with 'raworc status'"),
    "refused": (errors.NotFound("Agent 'x' not found"), "Agent 'x' not found"),
    "fields": (
        errors.BadRequest("Invalid input", details=(errors.FieldError("name", "must start with a letter"),)),
        "Invalid input\n  name: must start with a letter",
    ),
    "one field, told already": (
        errors.BadRequest("'limit': must be at least 1", details=(errors.FieldError("limit", "must be at least 1"),)),
        "'limit': must be at least 1",
    ),
}


@pytest.mark.parametrize(("error", "text"), CASES.values(), ids=CASES)
def test_a_refusal_is_explained(error: errors.ClientError, text: str):
    assert explain(error).endswith(text)


def test_a_busy_server_says_when_to_come_back():
    error = errors.Unavailable("The database is away")
    error.retry_after_s = 2.0
    assert explain(error) == "The database is away (try again in 2 s)"
