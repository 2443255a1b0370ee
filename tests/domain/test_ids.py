import uuid

from raworc.ids import Ids


def test_ids_are_random_uuids_that_never_repeat() -> None:
    ids, others = Ids(), Ids()
    made = [one.new() for one in (ids, others) for _ in range(1000)]
    assert len(set(made)) == 2000
    assert {(one.version, one.variant) for one in made} == {(4, uuid.RFC_4122)}
    ones = [sum(one.int >> bit & 1 for one in made) for bit in range(128)]
    fixed = {62, 63, *range(76, 80)}
    assert all(800 < count < 1200 for bit, count in enumerate(ones) if bit not in fixed)
