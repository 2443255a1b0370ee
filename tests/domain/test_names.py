import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.agents import check_limits, check_timeout
from raworc.domain.names import check_agent_name, check_secret_key, check_tags, is_agent_name
from raworc.domain.paths import check_path
from raworc.errors import BadRequest

INSIDE = string.ascii_letters + string.digits + "-"


@given(st.text())
def test_a_name_is_what_the_document_says_and_nothing_else(name):
    allowed = (
        2 <= len(name) <= 63
        and name[0] in string.ascii_letters
        and name[-1] != "-"
        and all(character in INSIDE for character in name)
    )
    assert is_agent_name(name) is allowed


@given(st.from_regex(r"\A[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]\Z"))
def test_names_of_the_documents_pattern_pass(name):
    assert check_agent_name(name) == name


@pytest.mark.parametrize(
    "name", ["ab\n", "\nab", "ab\r", "a b", "a_b", "\uff41b", "a\u0663", "a\u202eb", "-ab", "a" * 64]
)
def test_names_that_only_look_right_are_refused(name):
    with pytest.raises(BadRequest) as caught:
        check_agent_name(name)
    assert caught.value.details[0].field == "name"


def test_tags_are_trimmed_lowered_and_kept_once():
    assert check_tags([" B", "a", "b ", "A1"]) == ["b", "a", "a1"]
    assert check_tags([]) == []


@pytest.mark.parametrize("tag", ["", " ", "a-b", "a b", "\u00e4", "a\x00", "a\u2028", "a" * 65])
def test_tags_outside_the_rule_are_refused(tag):
    with pytest.raises(BadRequest):
        check_tags(["ok", tag])


def test_there_is_an_end_to_tags():
    with pytest.raises(BadRequest):
        check_tags(str(number) for number in range(65))


@pytest.mark.parametrize("key", ["", "1A", "A-B", "A\n", "A=B", "\u00c4", "A" * 256, "A\x00"])
def test_secret_names_are_variable_names(key):
    with pytest.raises(BadRequest):
        check_secret_key(key)
    assert check_secret_key("_a9") == "_a9"


@given(st.text())
def test_a_path_that_passes_stays_below(path):
    try:
        check_path(path)
    except BadRequest:
        return
    assert not path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/"))
    assert "\x00" not in path


@pytest.mark.parametrize("path", ["a", "a/b", ".hidden", "...", "a b", "a\\b", "C:", "\udcff", "a" * 255])
def test_odd_names_are_names(path):
    assert check_path(path) == path


@pytest.mark.parametrize("seconds", [0, -1, 604_801, 10**30])
def test_timeouts_are_one_second_to_a_week(seconds):
    assert [check_timeout(value, "t") for value in (None, 1, 604_800)] == [None, 1, 604_800]
    with pytest.raises(BadRequest):
        check_timeout(seconds, "t")


def test_limits_change_one_by_one():
    present = {"memory_mb": 1024, "cpus": 1, "pids": 256, "disk_mb": 2048}
    assert check_limits(None, present) == present
    assert check_limits({"cpus": 0.5, "pids": None, "x": 1}, present) == present | {"cpus": 0.5}
    for name in present:
        for value in (-1, 0, 10**12, float("nan"), float("inf")):
            with pytest.raises(BadRequest):
                check_limits({name: value}, present)
