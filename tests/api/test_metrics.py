"""``/metrics``: what it tells, and to whom."""

import time
import uuid

import httpx2
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from asking import Api, somebody
from raworc.metrics import Metrics, snapshot_file
from raworc.settings import Settings
from raworc.store.database import Database
from served import Served
from stack import Stack
from waiting import until

pytestmark = pytest.mark.anyio

ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}  # not from this machine, as far as we can know


async def scraped(served: Served | Stack, headers: dict[str, str] | None = None) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False) as http:
        return await http.get(f"{served.url}/metrics", headers=headers)


def value(text: str, name: str, **labels: str) -> float | None:
    """The sum of the lines of this name that carry these labels; None without one."""
    found = [
        line.value
        for family in text_string_to_metric_families(text)
        for line in family.samples
        if line.name == name and labels.items() <= line.labels.items()
    ]
    return sum(found) if found else None


async def test_programs_of_this_machine_read_it_without_a_token(served: Served):
    answer = await scraped(served)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert value(answer.text, "raworc_database_up") == 1
    assert value(answer.text, "raworc_workers", kind="server") == 1
    assert value(answer.text, "raworc_turns", status="pending") is not None
    assert value(answer.text, "raworc_disk_free_bytes") > 0
    assert value(answer.text, "process_resident_memory_bytes", process="server") > 1_000_000


async def test_others_need_an_administrators_token(served: Served, admin: Api, db: Database):
    assert (await scraped(served, ELSEWHERE)).status_code == 401
    assert (await scraped(served, ELSEWHERE | {"Authorization": "Bearer nonsense"})).status_code == 401
    async with somebody(served, db) as ordinary:
        assert (await ordinary.http.get(f"{served.url}/metrics", headers=ELSEWHERE)).status_code == 403
    assert (await admin.http.get(f"{served.url}/metrics", headers=ELSEWHERE)).status_code == 200


async def test_requests_are_counted_by_template_and_class_never_by_what_was_sent(served: Served, admin: Api):
    secret = f"canary-{uuid.uuid4().hex}"
    before = value((await scraped(served)).text, "raworc_http_request_duration_seconds_count") or 0
    await admin.get(f"/agents/{secret}")
    await admin.get(f"/{secret}", **{secret: secret})
    await admin.http.request("PROPFIND", f"/{secret}")
    text = (await scraped(served)).text
    assert value(text, "raworc_http_request_duration_seconds_count") >= before + 4
    assert value(
        text,
        "raworc_http_request_duration_seconds_count",
        method="GET",
        route="/api/v0/agents/{name}",
        status="4xx",
        process="server",
    )
    assert value(text, "raworc_http_request_duration_seconds_count", method="other", route="none")
    assert secret not in text


async def test_model_calls_are_counted(served: Served, admin: Api):
    call = {"model": "scripted", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    assert (await admin.http.post(f"{served.url}/v1/messages", json=call)).status_code == 200
    assert (await admin.http.post(f"{served.url}/v1/nothing", json=call)).status_code == 404
    text = (await scraped(served)).text
    assert value(text, "raworc_model_call_duration_seconds_count", caller="login", status="2xx") == 1
    assert value(text, "raworc_model_call_duration_seconds_count", caller="login", status="4xx") == 1
    times = {"caller": "login", "status": "2xx"}
    assert value(text, "raworc_model_call_duration_seconds_bucket", le="600.0", **times) == 1
    assert value(text, "raworc_model_call_duration_seconds_bucket", le="+Inf", **times) == 1
    assert 0 < (value(text, "raworc_model_call_duration_seconds_sum", **times) or 0) < 60


async def test_other_processes_are_shown_until_they_are_dead(served: Served, settings: Settings):
    dead = Metrics("operator")
    dead.turn_ended("completed")
    file = snapshot_file(settings.run_dir, uuid.uuid4())
    file.write_bytes(msgspec.json.encode(dead.snapshot(file.stem)))
    (file.parent / "nonsense.json").write_text("{}")
    text = (await scraped(served)).text
    assert value(text, "raworc_turns_ended_total") is None
    assert not file.exists()  # nobody holds its lock


async def test_the_metrics_of_all_processes_of_a_home_come_together(steady_stack: Stack):
    with steady_stack.client() as client:
        client.agents.create("measured")
        assert client.responses.ask("measured", "hello").status == "completed"
    text = ""

    async def told() -> bool:
        nonlocal text
        text = (await scraped(steady_stack)).text
        recorded = value(text, "raworc_recorded_calls_total", process="recorder")
        return bool(recorded and value(text, "raworc_turns_ended_total", process="operator", status="completed"))

    await until(told)
    assert value(text, "raworc_recorded_tokens_total", process="recorder", kind="output") > 0
    assert value(text, "raworc_sessions_held", process="operator") >= 1
    assert value(text, "raworc_sandboxes_open") >= 1
    assert value(text, "raworc_recorder_caught_up_timestamp_seconds") > time.time() - 30
