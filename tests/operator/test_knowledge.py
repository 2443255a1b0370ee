"""Looking things up: texts of the agent's own and files of its workspace, as they are when it asks."""

import pytest
from sqlalchemy import func, select

from operating import World, answer, only
from prompts import bash, tool
from raworc.services.agents import AgentChange
from raworc.store.schema import knowledge

pytestmark = pytest.mark.anyio

FAQ = {"name": "faq", "text": "Refunds take five days.\n\n" + "Nothing here. " * 200 + "\n\nParcels ship on Mondays."}
DOCS = {"name": "docs", "path": "/agent/docs"}


def looked_up(query: str) -> str:
    return tool("search_knowledge", query=query)


async def pieces(place: World) -> int:
    async with place.db.reading() as conn:
        return await conn.scalar(select(func.count()).select_from(knowledge))


async def test_what_fits_best_is_found_in_texts_and_files(place: World):
    async with place.operator():
        await place.create(knowledge_bases=[FAQ, DOCS, {"name": "gone", "path": "no.txt"}, {"name": "half"}])
        write = bash("mkdir docs; echo The refund desk is on floor 3 > docs/desk.md; head -c 9 /dev/zero > docs/binary")
        turn = await place.ask("\n".join([write, looked_up("When do I get my refunds?")]))
        assert "'knowledge_bases.3' is ignored" in only(turn, "note")["text"]
        found = turn.segments[-2]["output"]
        assert "[faq]\nRefunds take five days." in found
        assert "[docs: docs/desk.md]\nThe refund desk is on floor 3" in found
        assert "[gone] not searched: " in found
        assert "Mondays" not in found.split("[faq]")[1].split("\n\n")[0]
        there = await pieces(place)

        turn = await place.ask(
            "\n".join([bash("echo It moved to the cellar > docs/desk.md"), looked_up("refund cellar")])
        )
        assert "[docs: docs/desk.md]\nIt moved to the cellar" in answer(turn)
        assert "floor 3" not in answer(turn)
        assert await pieces(place) == there

        change = AgentChange(knowledge_bases=[DOCS])
        await place.agents.update(place.admin, "demo", change)
        assert answer(await place.ask(looked_up("refunds"))) == "Nothing was found for these words"
        assert await pieces(place) == 1


async def test_words_are_words_whatever_they_look_like(place: World):
    async with place.operator():
        await place.create(knowledge_bases=[{"name": "a", "text": "red & green | blue ! 'quoted' \0"}])
        for query in ("'", "& |", "!", "the", "\0", "):*"):
            assert answer(await place.ask(looked_up(query))) == "Nothing was found for these words"
        assert "[a]" in answer(await place.ask(looked_up("' & green | <-> nowhere")))


async def test_knowledge_goes_with_its_agent(place: World):
    async with place.operator():
        await place.create(knowledge_bases=[FAQ])
        await place.ask(looked_up("parcels"))
        assert await pieces(place) > 0
        await place.agents.delete(place.admin, "demo")
        assert await pieces(place) == 0
