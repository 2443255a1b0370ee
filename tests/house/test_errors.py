"""Whatever error a server raises, the client has a class for it: by code, with the same status."""

import pytest

from raworc import errors
from raworc.client import errors as client_errors


def family(root: type[errors.RaworcError]) -> list[type[errors.RaworcError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in family(child))]


@pytest.mark.parametrize("kind", family(errors.RaworcError), ids=lambda kind: kind.__name__)
def test_a_server_error_has_a_client_exception(kind: type[errors.RaworcError]):
    twin = client_errors.BY_CODE.get(kind.code)
    assert twin, f"add a class with code '{kind.code}' to 'src/raworc/client/errors.py'"
    assert twin.status == kind.status


def test_the_client_invents_no_codes():
    assert set(client_errors.BY_CODE) == {kind.code for kind in family(errors.RaworcError)}
