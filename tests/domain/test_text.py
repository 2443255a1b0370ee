import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.text import MAX_DEPTH, is_plain, storable, storable_text
from raworc.errors import BadRequest

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4))


@given(JSON)
def test_whatever_comes_out_can_be_stored(value):
    json.dumps(storable(value), ensure_ascii=False).encode()
    assert "\\u0000" not in json.dumps(storable(value))
    assert storable(storable(value)) == storable(value)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_good_text_stays_as_it_is(value):
    assert storable_text(value) == value
    assert is_plain(value)


@pytest.mark.parametrize("bad", ["\x00", "\ud800", "a\x00", "\udc80b"])
def test_bad_text_is_replaced(bad):
    assert not is_plain(bad)
    assert is_plain(storable_text(bad))
    assert storable({bad: [bad]}) == {storable_text(bad): [storable_text(bad)]}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 10**4000, -(10**4000)])
def test_numbers_that_json_cannot_say_are_refused(number):
    with pytest.raises(BadRequest):
        storable([{"a": number}])


def test_depth_has_an_end():
    deep = json.loads("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    storable(deep[0])
    with pytest.raises(BadRequest):
        storable([deep])
    with pytest.raises(BadRequest):
        storable(json.loads('{"a":' * 500 + "1" + "}" * 500))
