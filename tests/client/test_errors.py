"""An answer of 400 or above becomes one exception, whatever its body holds."""

import json

import pytest

from raworc.client.errors import (
    BadAnswer,
    BadRequest,
    ClientError,
    Conflict,
    FieldError,
    NotFound,
    RateLimited,
    ServerError,
    Unavailable,
    from_answer,
)


def body(code: str | None, message: object = "Said so", **more: object) -> bytes:
    error = {"code": code, "message": message, **more}
    return json.dumps({"message": message, "error": error, "request_id": "r-1"}).encode()


def test_the_code_decides_and_the_message_is_the_servers():
    error = from_answer(409, {}, body("CONFLICT", "Agent 'demo' is there already"))
    assert type(error) is Conflict
    assert str(error) == "Agent 'demo' is there already"
    assert error.request_id == "r-1"


def test_refused_fields_are_named():
    error = from_answer(400, {}, body("BAD_REQUEST", details=[{"field": "name", "message": "too short"}]))
    assert isinstance(error, BadRequest)
    assert error.details == (FieldError("name", "too short"),)


def test_when_to_try_again_is_read():
    error = from_answer(429, {"retry-after": "3"}, body("RATE_LIMITED"))
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 3.0


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2026 07:28:00 GMT", "nan", "inf", ""])
def test_an_unreadable_retry_after_is_no_answer(value: str):
    error = from_answer(503, {"retry-after": value}, body("SERVICE_UNAVAILABLE"))
    assert isinstance(error, Unavailable)
    assert error.retry_after_s is None


def test_an_unknown_code_falls_back_to_the_status():
    assert type(from_answer(404, {}, body("NEWER_CODE"))) is NotFound
    assert type(from_answer(418, {}, body("NEWER_CODE"))) is ServerError


def test_the_shortest_documented_body_is_enough():
    error = from_answer(504, {}, b'{"message":"Timed out waiting for response to complete"}')
    assert str(error) == "Timed out waiting for response to complete"


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"error": "no"}', b"\xff", b'{"message": 4}', b"null"])
def test_another_programs_answer_is_told_apart(content: bytes):
    error = from_answer(502, {}, content)
    assert isinstance(error, BadAnswer)
    assert isinstance(error, ClientError)
    assert "502" in str(error)
