"""What everybody is answered about named agents that somebody else has in a space: see ``test_agents_matrix.py``.

The expected statuses are written by hand from the rules, never computed. Whoever adds a route adds its rows. Another's
agent is 403 in the agents contract, as its clients expect it; one that is not there is 404 to everybody, as everybody
may have agents of his own.
"""

from crowd import Rows, Table, everywhere

TEXT = {"content": [{"type": "text", "content": "hello"}]}
NOWHERE = "404 404 404 404 404 404 404 404 404"


# fmt: off
def looked(done: int = 200) -> Rows:
    """Who may get agents in the space may look at each of them."""
    # ........... unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    return Rows(f"403 {done} {done} {done} 403 {done} 403 {done} {done}",
                f"403 403 403 403 403 403 {done} {done} {done}", NOWHERE)


def changed(body: object = None, done: int = 200) -> Rows:
    """Who may update agents in the space may work with each of them."""
    # ........... unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    return Rows(f"403 403 {done} {done} 403 {done} 403 403 {done}",
                f"403 403 403 403 403 403 {done} 403 {done}", NOWHERE, body)


TABLE: Table = {
    # ........................................ unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    "GET /api/v0/agents": everywhere(         "200 200 200 200 200 200 200 200 200"),
    "POST /api/v0/agents": Rows(              "404 403 200 200 403 200 404 403 200",
                                              "404 404 404 404 404 404 200 403 200", NOWHERE,
                                              {"name": "{fresh}", "space": "{space}"}),
    "GET /api/v0/agents/{name}": looked(),
    "PUT /api/v0/agents/{name}": changed({"description": "x"}),
    "DELETE /api/v0/agents/{name}": Rows(     "403 403 403 200 403 200 403 403 200",
                                              "403 403 403 403 403 403 403 403 200", NOWHERE),
    "PUT /api/v0/agents/{name}/state": changed({"state": "slept"}),
    "POST /api/v0/agents/{name}/busy": changed(),
    "POST /api/v0/agents/{name}/idle": changed(),
    "POST /api/v0/agents/{name}/sleep": changed(),
    "POST /api/v0/agents/{name}/wake": changed(done=400),
    "POST /api/v0/agents/{name}/token": changed(),
    "POST /api/v0/agents/{name}/cancel": changed(),
    "GET /api/v0/agents/{name}/responses": looked(),
    "POST /api/v0/agents/{name}/responses": changed({"input": TEXT}),
    "GET /api/v0/agents/{name}/responses/count": looked(),
    "GET /api/v0/agents/{name}/responses/{response_id}": looked(),
    "PUT /api/v0/agents/{name}/responses/{response_id}": changed({"status": "completed"}),
    "GET /api/v0/agents/{name}/responses/{response_id}/events": looked(),
    "GET /api/v0/agents/{name}/responses/{response_id}/requests": looked(),
    "GET /api/v0/agents/{name}/requests": looked(),
    "GET /api/v0/agents/{name}/events": looked(),
    "GET /api/v0/agents/{name}/runtime": looked(),
    "POST /api/v0/agents/{name}/remix": changed({"name": "{fresh}"}),
    "GET /api/v0/agents/{name}/secrets": looked(),
    "PUT /api/v0/agents/{name}/secrets/{key}": changed({"value": "v"}),
    "DELETE /api/v0/agents/{name}/secrets/{key}": changed(done=404),
    "POST /api/v0/agents/{name}/publish": changed(),
    "POST /api/v0/agents/{name}/unpublish": changed(),
    "GET /api/v0/agents/{name}/approvals": looked(),
    "POST /api/v0/agents/{name}/approvals/{approval_id}": changed({"decision": "approve"}, done=404),
    "GET /api/v0/agents/{name}/context": looked(),
    "POST /api/v0/agents/{name}/context/clear": changed(),
    "POST /api/v0/agents/{name}/context/compact": changed(done=409),
    "POST /api/v0/agents/{name}/context/restore": changed(done=409),
    "GET /api/v0/agents/{name}/files/list": looked(),
    "GET /api/v0/agents/{name}/files/list/{path:file}": looked(404),
    "GET /api/v0/agents/{name}/files/metadata/{path:file}": looked(404),
    "GET /api/v0/agents/{name}/files/read/{path:file}": looked(404),
    "DELETE /api/v0/agents/{name}/files/delete/{path:file}": changed(done=404),
    "PUT /api/v0/agents/{name}/files/write/{path:file}": changed(),
    "GET /api/v0/agents/{name}/files/archive": looked(),
}
# fmt: on
