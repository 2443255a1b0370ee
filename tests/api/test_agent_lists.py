"""The list of agents: order, paging and every filter."""

import uuid
from typing import Any

import pytest

from asking import Api, error_of
from raworc.services.progress import StateChanged
from works import Works

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def seven(admin: Api) -> tuple[str, list[str]]:
    """A tag, and the names of the seven agents that have it, newest first."""
    tag = f"t{uuid.uuid4().hex[:8]}"
    names: list[str] = []
    for number in range(7):
        extra = ["even"] if number % 2 == 0 else ["odd"]
        agent = await admin.made(tags=[tag, *extra], description=f"Number {number} of 100% of_them")
        names.insert(0, agent["name"])
    return tag, names


async def listed(api: Api, **query: Any) -> dict[str, Any]:
    answer = await api.get("/agents", **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names_of(page: dict[str, Any]) -> list[str]:
    return [item["name"] for item in page["items"]]


async def test_a_page_is_newest_first_with_its_place(admin: Api, seven: tuple[str, list[str]]):
    tag, names = seven
    page = await listed(admin, tags=tag)

    assert names_of(page) == names
    assert {k: v for k, v in page.items() if k != "items"} == {
        "total": 7,
        "limit": 30,
        "offset": 0,
        "page": 1,
        "pages": 1,
    }


async def test_pages_by_number(admin: Api, seven: tuple[str, list[str]]):
    tag, names = seven
    page = await listed(admin, tags=tag, limit=3, page=3)

    assert names_of(page) == names[6:]
    assert (page["total"], page["limit"], page["offset"], page["page"], page["pages"]) == (7, 3, 6, 3, 3)


async def test_offset_wins_over_page(admin: Api, seven: tuple[str, list[str]]):
    tag, names = seven
    page = await listed(admin, tags=tag, limit=2, page=3, offset=1)

    assert names_of(page) == names[1:3]
    assert (page["offset"], page["page"], page["pages"]) == (1, 1, 4)


async def test_a_page_behind_the_end_is_empty(admin: Api, seven: tuple[str, list[str]]):
    tag, _ = seven
    for query in ({"page": 99}, {"offset": 7}, {"offset": 2**53}, {"page": 2**53 - 1}, {"page": 10**30}):
        page = await listed(admin, tags=tag, **query)
        assert (page["items"], page["total"]) == ([], 7)


async def test_nothing_found_is_one_empty_page(admin: Api):
    page = await listed(admin, q=uuid.uuid4().hex)

    assert page == {"items": [], "total": 0, "limit": 30, "offset": 0, "page": 1, "pages": 1}


async def test_a_limit_above_its_maximum_is_clamped(admin: Api):
    for limit in (101, 100_000, 10**40):
        assert (await listed(admin, limit=limit))["limit"] == 100


async def test_tags_must_all_be_there_in_any_case(admin: Api, seven: tuple[str, list[str]]):
    tag, names = seven

    assert names_of(await listed(admin, tags=f"{tag.upper()}, Even ,")) == names[::2]
    assert names_of(await listed(admin, tags=f"{tag},even,odd")) == []
    assert names_of(await listed(admin, tags=f"{tag},no-such!")) == []


async def test_q_searches_names_and_descriptions_without_case_or_wildcards(admin: Api, seven: tuple[str, list[str]]):
    tag, names = seven

    assert names_of(await listed(admin, tags=tag, q=names[2].upper()[6:])) == [names[2]]
    assert names_of(await listed(admin, tags=tag, q=" NUMBER 3 ")) == [names[3]]
    assert len(names_of(await listed(admin, tags=tag, q="100%"))) == 7
    assert len(names_of(await listed(admin, tags=tag, q="of_them"))) == 7
    assert names_of(await listed(admin, tags=tag, q="N%r")) == []
    assert names_of(await listed(admin, tags=tag, q="of.them")) == []


async def test_states_are_filtered_by_the_contracts_words(admin: Api, works: Works):
    tag = f"t{uuid.uuid4().hex[:8]}"
    for state in ("init", "idle", "busy", "slept", "paused", "error"):
        name = (await admin.made(name=f"{state}-{uuid.uuid4().hex[:6]}", tags=[tag]))["name"]
        await works(name, StateChanged(state))

    for shown, count in {"init": 1, "idle": 1, "busy": 1, "slept": 3}.items():
        page = await listed(admin, tags=tag, state=shown)
        assert [item["state"] for item in page["items"]] == [shown] * count
        assert page["total"] == count


async def test_empty_filters_filter_nothing(admin: Api, seven: tuple[str, list[str]]):
    page = await listed(admin, q="", tags="")

    assert page["total"] >= 7


BAD_QUERIES = [
    ("limit", "0"),
    ("limit", "-1"),
    ("limit", "ten"),
    ("limit", ""),
    ("limit", "1.5"),
    ("limit", "1e2"),
    ("limit", "9" * 400),
    ("limit", "٣"),
    ("limit", "true"),
    ("page", "0"),
    ("page", "-3"),
    ("page", "x"),
    ("offset", "-1"),
    ("offset", "x"),
    ("state", "asleep"),
    ("state", "IDLE"),
]


@pytest.mark.parametrize(("field", "value"), BAD_QUERIES)
async def test_a_parameter_outside_its_rules_is_400_and_named(admin: Api, field: str, value: str):
    answer = await admin.get("/agents", **{field: value})

    details = error_of(answer, 400, "BAD_REQUEST")["error"]["details"]
    assert [detail["field"] for detail in details] == [field]


async def test_every_item_is_the_agent_itself(admin: Api, seven: tuple[str, list[str]]):
    tag, names = seven
    page = await listed(admin, tags=tag, limit=1)

    assert page["items"] == [(await admin.get(f"/agents/{names[0]}")).json()]
