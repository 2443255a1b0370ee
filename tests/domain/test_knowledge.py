import pytest

from raworc.domain.knowledge import PIECE_CHARACTERS, KnowledgeBase, Source, knowledge_bases

IGNORED = "'knowledge_bases.0' is ignored: it needs a 'name', and a 'text' or a 'path'"


@pytest.mark.parametrize(
    ("entry", "bases"),
    [
        ({"name": "faq", "text": "a"}, [KnowledgeBase("faq", text="a")]),
        ({"name": "faq", "path": "docs", "text": " "}, [KnowledgeBase("faq", path="docs")]),
        ({"name": "faq", "path": ""}, []),
        ({"name": "", "text": "a"}, []),
        ({"text": "a"}, []),
        ({"name": 5, "text": "a"}, []),
        ("faq", []),
        (None, []),
    ],
)
def test_what_an_entry_says(entry, bases):
    assert knowledge_bases([entry]) == (bases, [] if bases else [IGNORED])


@pytest.mark.parametrize(
    "text", ["", "short", "word " * 2000, "x" * 5000, "line of text\n" * 700, ("para. " * 90 + "\n\n") * 9, "\0\ud800"]
)
def test_pieces_are_bounded_and_leave_nothing_out(text):
    pieces = Source("s", text).pieces
    assert all(0 < len(piece) <= PIECE_CHARACTERS for piece in pieces)
    kept = "".join("".join(pieces).split())
    assert kept == "".join(text.replace("\0", "\ufffd").replace("\ud800", "\ufffd").split())


def test_paragraphs_stay_whole():
    paragraphs = [f"{number} " + "word " * 180 for number in range(5)]
    assert Source("s", "\n\n".join(paragraphs)).pieces == [paragraph.strip() for paragraph in paragraphs]
