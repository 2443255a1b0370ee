"""What was recorded and used, on the command line."""

import json

from terminal import Shell
from waiting import until_sync


def test_what_an_agents_work_cost_is_found_from_any_side(person: Shell, worker: str):
    person.run("ask", worker, "hello")
    train = f"default.{worker}"

    def told(*words: str) -> dict:
        return json.loads(person.here(*words, "--train", train, "--json"))

    until_sync(lambda: bool(told("conversations", "list")["conversations"]))
    (call,) = told("requests", "list", "--status", "success")["requests"]
    assert call["trainId"] == train
    assert call["id"] in person.here("requests", "list", "--train", train)
    shown = json.loads(person.here("requests", "show", call["id"]))
    assert shown["request_body"]["messages"]
    (talk,) = told("conversations", "list")["conversations"]
    assert (talk["request_count"], talk["conversation_id"]) == (1, call["conversation_id"])
    assert call["id"] in person.here("conversations", "show", talk["conversation_id"])
    stats = told("stats")
    assert (stats["total_requests"], stats["total_tokens"]) == (1, call["input_tokens"] + call["output_tokens"])
    assert "1 of 1 trains" in person.here("stats", "--train", train)
    for words in (("conversations", "list"), ("requests", "list"), ("usage", "--days", "2"), ("stats",)):
        for option, value in (("--status", "error"), ("--model", "nobodys"), ("--kind", "quota")):
            none = told(*words, option, value)
            counts = none.get("pagination", {}).get("total"), none.get("total_requests"), none.get("totals", {})
            assert counts[0] == 0 or counts[1] == 0 or counts[2].get("requests") == 0, (words, option, none)
    *_, last = person.here("usage", "--days", "2", "--train", train).splitlines()
    assert last.split()[:2] == ["together", "1"]
    assert "'status': must be 'success', 'error'" in person.here("requests", "list", "--status", "bad", code=1)
