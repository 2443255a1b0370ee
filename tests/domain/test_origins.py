"""Which origins may be named."""

import pytest

from raworc.domain.origins import Origins
from raworc.errors import BadRequest


def test_origins_are_named_with_commas_whatever_their_case():
    origins = Origins.parse(" https://App.example ,http://localhost:3000,, http://[::1]:80")

    assert origins.allowed == {"https://app.example", "http://localhost:3000", "http://[::1]:80"}
    assert Origins.parse("*").allowed == {"*"}
    assert Origins.parse("").allowed == set()


@pytest.mark.parametrize(
    "text", ["app.example", "https://app.example/", "https://*.example", "ftp://x", "null", "https://a b"]
)
def test_what_is_no_origin_is_refused_with_an_example(text: str):
    with pytest.raises(BadRequest, match="write it like"):
        Origins.parse(text)
