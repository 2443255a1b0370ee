"""Where links lead, compared with what the kernel says."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raworc.domain.symlinks import leading_out

NAMES = st.sampled_from(["a", "b", "c", "a/x", "b/y", "a/x/z"])
STEPS = st.lists(st.sampled_from(["..", ".", "a", "b", "c", "x", "y"]), min_size=1, max_size=5)
TARGETS = STEPS.map("/".join)


def kernel_says_out(root: Path, links: dict[str, str]) -> bool:
    """Whether any link, resolved by the system, is outside the root (or in a circle)."""
    for path in links:
        try:
            found = (root / path).resolve(strict=False)
        except (OSError, RuntimeError):
            return True
        if not found.is_relative_to(root):
            return True
    return False


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, TARGETS, max_size=4))
def test_what_is_said_to_stay_inside_does(wanted: dict[str, str]):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "root"
        root.mkdir()
        links: dict[str, str] = {}
        for path, target in sorted(wanted.items()):
            place = root / path
            if not any(parent.is_symlink() for parent in place.parents):
                place.parent.mkdir(parents=True, exist_ok=True)
                if not place.is_dir():
                    place.symlink_to(target)
                    links[path] = target
        if leading_out(links) is None:
            assert not kernel_says_out(root, links)


def test_each_way_out_is_named():
    ways = {
        "absolute": {"a": "/etc"},
        "above": {"a/b": "../.."},
        "through another": {"self": ".", "a": "self/../x"},
        "around": {"a": "b", "b": "a"},
        "by another's absolute": {"a/b": "/etc", "c": "a/b/x"},
    }
    assert {name: leading_out(links) is not None for name, links in ways.items()} == dict.fromkeys(ways, True)
    inside = [{"a": "b"}, {"a/b": "../c"}, {"node_modules/.bin/x": "../x/cli.js"}, {"self": "."}, {"a": "."}, {}]
    assert [leading_out(links) for links in inside] == [None] * len(inside)
