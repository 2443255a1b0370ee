"""What another account may take of a published agent, for every permission and every wish."""

from itertools import product

import pytest

from raworc.domain.remixing import Offer, Parts, refused, taken

TRUTH = (False, True)


@pytest.mark.parametrize(("code", "secrets", "content", "named"), list(product(TRUTH, repeat=4)))
def test_a_part_that_is_withheld_is_refused_by_its_name(*, code: bool, secrets: bool, content: bool, named: bool):
    offer = Offer({"code": code, "secrets": secrets, "content": content}, named)
    for wished in (Parts(*wish) for wish in product(TRUTH, repeat=2)):
        withheld = {
            name
            for name, wish, given in (
                ("content", True, content),
                ("code", wished.code, code),
                ("secrets", wished.secrets, secrets),
            )
            if wish and not given
        }
        part = refused(wished, offer)
        assert part in withheld if withheld else part is None


@pytest.mark.parametrize(("wished", "named", "given"), [(w, n, w and n) for w, n in product(TRUTH, repeat=2)])
def test_secrets_come_along_only_where_the_publisher_named_them(*, wished: bool, named: bool, given: bool):
    offer = Offer({"code": True, "secrets": True, "content": True}, named)
    assert taken(Parts(code=True, secrets=wished), offer) == Parts(code=True, secrets=given)
