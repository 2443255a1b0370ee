"""Whatever a guest says: bounded output, an exit, or a broken guest; never anything else."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.sandbox.commands import Answer, BrokenGuest, request
from raworc.sandbox.driver import Command, Exit, Output, SandboxError
from raworc.sandbox.guest.frames import EXIT, FAILURE, FRAME, MAX_FRAME_BYTES, REQUEST


def frame(kind: bytes, payload: bytes) -> bytes:
    return FRAME.pack(kind, len(payload)) + payload


ENDED = frame(b"x", EXIT.pack(3, 0, 20, 7, 5))


def test_output_and_exit():
    answer = Answer(100)
    assert answer.feed(frame(b"o", b"hel") + frame(b"o", b"lo") + ENDED) == Output(b"hello")
    assert answer.exit == Exit(3, "exited", 20, left_out_bytes=7, head_bytes=5)


def test_frames_may_come_byte_by_byte():
    answer = Answer(100)
    said = [answer.feed(bytes([byte])) for byte in frame(b"o", b"hello") + ENDED]
    assert [output for output in said if output] == [Output(b"hello")]
    assert answer.exit is not None


@pytest.mark.parametrize(
    "said",
    [
        frame(b"o", b"x" * 101),
        frame(b"o", b"x" * 60) + frame(b"o", b"x" * 60),
        FRAME.pack(b"o", MAX_FRAME_BYTES + 1),
        frame(b"?", b""),
        frame(b"x", b"short"),
        frame(b"x", EXIT.pack(0, 9, 0, 0, 0)),
        ENDED + frame(b"o", b"late"),
        frame(b"e", b""),
    ],
)
def test_a_guest_that_says_anything_else_is_broken(said: bytes):
    with pytest.raises(BrokenGuest):
        Answer(100).feed(said)


def test_limits_of_the_sandbox_are_the_commands_failure_others_are_ours():
    answer = Answer(100)
    output = answer.feed(frame(b"e", FAILURE.pack(errno.EAGAIN)))
    assert output is not None
    assert b"there are too many processes" in output.data
    assert answer.exit == Exit(126, "exited", 0, head_bytes=len(output.data))
    with pytest.raises(SandboxError, match="No such file"):
        Answer(100).feed(frame(b"e", FAILURE.pack(errno.ENOENT)))


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 200))
def test_noise_never_delivers_too_much(parts: list[bytes], room: int):
    answer, delivered = Answer(room), 0
    try:
        for part in parts:
            output = answer.feed(part)
            delivered += len(output.data) if output else 0
    except (BrokenGuest, SandboxError):
        pass
    assert delivered <= room


def test_a_request_carries_everything():
    made = request(Command("echo ü", timeout_s=2.5, max_output_bytes=10), {"A": "1", "B": "x=y"}, 4096)
    limit_s, most, largest, env_size, script_size = REQUEST.unpack_from(made)
    assert (limit_s, most, largest) == (2.5, 10, 4096)
    rest = made[REQUEST.size :]
    assert rest == b"A=1\0B=x=y" + "echo ü".encode()
    assert (env_size, script_size) == (len(b"A=1\0B=x=y"), len("echo ü".encode()))


@pytest.mark.parametrize("env", [{"A=B": "x"}, {"": "x"}, {"A": "x\0"}, {"A\0": "x"}])
def test_names_and_values_that_no_environment_holds_are_refused(env: dict[str, str]):
    with pytest.raises(SandboxError, match="cannot be set"):
        request(Command("true"), env, 0)


def test_a_request_is_bounded():
    with pytest.raises(SandboxError, match="16777216"):
        request(Command("x" * 17_000_000), {}, 0)
