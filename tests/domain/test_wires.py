"""Which wire a call speaks."""

import pytest

from raworc.domain.wires import endpoint_of, keeps_bodies, puts_models_to_work, wire_of


@pytest.mark.parametrize(
    ("path", "headers", "wire"),
    [
        ("/v1/messages", {}, "anthropic"),
        ("/v1/messages/batches/b1/results", {b"authorization": b"Bearer x"}, "anthropic"),
        ("/v1/messagesque", {}, "openai"),
        ("/v1/chat/completions", {b"x-api-key": b"k", b"anthropic-version": b"2023-06-01"}, "openai"),
        ("/v1/responses", {}, "openai"),
        ("/v1/responses/resp_1", {b"x-api-key": b"k"}, "openai"),
        ("/v1/models", {b"authorization": b"Bearer x"}, "openai"),
        ("/v1/models", {b"x-api-key": b"k"}, "anthropic"),
        ("/v1/files", {b"anthropic-version": b"2023-06-01", b"authorization": b"Bearer x"}, "anthropic"),
        ("/v1/embeddings", {}, "openai"),
    ],
)
def test_the_path_tells_and_headers_where_it_does_not(path: str, headers: dict[bytes, bytes], wire: str) -> None:
    assert wire_of(path, headers) == wire


def test_only_what_makes_a_model_speak_has_an_endpoint_of_its_own() -> None:
    asked = [("POST", "/v1/messages"), ("POST", "/v1/chat/completions"), ("POST", "/v1/responses")]
    assert [endpoint_of(*one) for one in asked] == ["messages", "chat", "responses"]
    others = [("GET", "/v1/chat/completions"), ("POST", "/v1/responses/r1/cancel"), ("POST", "/v1/messages/batches")]
    assert {endpoint_of(*one) for one in others} == {"other"}


def test_what_puts_models_to_work_and_what_an_account_keeps() -> None:
    work = [("POST", f"/v1/{path}") for path in ("messages", "chat/completions", "responses", "embeddings")]
    assert all(puts_models_to_work(*one) for one in [*work, ("GET", "/v1/models"), ("GET", "/v1/models/m")])
    kept = [
        ("GET", "/v1/files"),
        ("POST", "/v1/files"),
        ("DELETE", "/v1/files/f1"),
        ("GET", "/v1/responses/r1"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/v1/models/m"),
        ("GET", "/v1/organization/costs"),
    ]
    assert not any(puts_models_to_work(*one) or keeps_bodies(*one) for one in kept)
