"""What everybody is answered by the routes of the contracts spaces and organizations: see ``test_tenant_matrix.py``.

The expected statuses are written by hand from the rules, never computed. Whoever adds a route adds its rows.
"""

from typing import Any

from crowd import Public, Rows, everywhere

PASSWORD = "a-password-of-tests"

WRONG = {"user": "{fresh}", "pass": "wrong"}
FOR_ANYBODY = everywhere("200 200 200 200 200 200 200 200 200")

NEW_AGENT = {"instructions": "i", "model": "scripted"}
NEW_SESSION = {"name": "n", "starting_prompt": "p"}
NEW_ROLE = {"name": "{fresh}", "rules": [{"resources": ["agents"], "verbs": ["get"]}]}
PASSWORDS = {"current_password": PASSWORD, "new_password": "another-password"}
NEW_BINDING = {
    "spaces": {"subject": "{bystander}", "role_ref": "developer", "space": "{space}"},
    "organizations": {
        "name": "{fresh}",
        "role_ref": {"name": "developer"},
        "subjects": [{"kind": "User", "name": "{bystander}", "namespace": "{space}"}],
    },
}


# fmt: off
def both(contract: str, made: int, gone: int) -> dict[tuple[str, str], Rows]:
    """What the two contracts share, with the statuses that each has for what was made and removed."""
    place = "space" if contract == "spaces" else "namespace"
    return {
        # ........................................... unb vw@A dv@A op@A ad@A kp@A dv@B view admin
        ("GET", "/service-accounts"): everywhere(    "403 200 403 403 403 200 403 200 200"),
        ("POST", "/service-accounts"): Rows(        f"403 403 403 403 403 {made} 403 403 {made}",
                                                    f"403 403 403 403 403 404 403 403 {made}",
                                                     "403 403 403 403 403 404 403 403 404",
                                                     {"user": "{fresh}", "pass": PASSWORD, place: "{space}"}),
        ("GET", "/service-accounts/{id}"): Rows(     "404 200 404 404 404 200 404 200 200",
                                                     "404 404 404 404 404 404 404 200 200",
                                                     "404 404 404 404 404 404 404 404 404"),
        ("PUT", "/service-accounts/{id}"): Rows(     "404 403 404 404 404 200 404 403 200",
                                                     "404 404 404 404 404 404 404 403 200",
                                                     "404 404 404 404 404 404 404 404 404", {"description": "x"}),
        ("DELETE", "/service-accounts/{id}"): Rows( f"404 403 404 404 404 {gone} 404 403 {gone}",
                                                    f"404 404 404 404 404 404 404 403 {gone}",
                                                     "404 404 404 404 404 404 404 404 404"),
        ("PUT", "/service-accounts/{id}/password"): Rows(
                                                     "404 403 404 404 404 200 404 403 200",
                                                     "404 404 404 404 404 404 404 403 200",
                                                     "404 404 404 404 404 404 404 404 404", PASSWORDS),
        ("GET", "/roles"): everywhere(               "403 403 403 403 403 403 403 200 200"),
        ("POST", "/roles"): everywhere(             f"403 403 403 403 403 403 403 403 {made}", NEW_ROLE),
        ("GET", "/roles/{id}"): everywhere(          "404 404 404 404 404 404 404 200 200"),
        ("DELETE", "/roles/{id}"): everywhere(      f"404 404 404 404 404 404 404 403 {gone}"),
        ("GET", "/role-bindings"): everywhere(       "403 200 403 403 403 200 403 200 200"),
        ("POST", "/role-bindings"): Rows(           f"403 403 403 403 403 {made} 403 403 {made}",
                                                    f"403 403 403 403 403 404 403 403 {made}",
                                                     "403 403 403 403 403 404 403 403 404", NEW_BINDING[contract]),
        ("GET", "/role-bindings/{id}"): Rows(        "404 200 404 404 404 200 404 200 200",
                                                     "404 404 404 404 404 404 404 200 200",
                                                     "404 404 404 404 404 404 404 404 404"),
        ("DELETE", "/role-bindings/{id}"): Rows(    f"404 403 404 404 404 {gone} 404 403 {gone}",
                                                    f"404 404 404 404 404 404 404 403 {gone}",
                                                     "404 404 404 404 404 404 404 404 404"),
    }


# Of one session:      unb vw@A dv@A op@A ad@A kp@A dv@B view admin
NOWHERE = "404 404 404 404 404 404 404 404 404"
READ = Rows(          "404 200 200 200 404 200 404 200 200",
                      "404 404 404 404 404 404 200 200 200", NOWHERE)
REMOVED = Rows(       "404 403 403 200 404 200 404 403 200",
                      "404 404 404 404 404 404 403 403 200", NOWHERE)


def changed(body: Any = None, done: int = 200) -> Rows:
    return Rows(     f"404 403 {done} {done} 404 {done} 404 403 {done}",
                     f"404 404 404 404 404 404 {done} 403 {done}", NOWHERE, body)


TABLE: dict[str, Rows | Public] = {
    "GET /spaces/api/v0/version": Public(200),
    "GET /spaces/api/v0/health": Public(200),
    "POST /spaces/api/v0/auth/login": Public(401, WRONG),
    "GET /spaces/api/v0/auth/me": FOR_ANYBODY,
    # ............................................ unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    "GET /spaces/api/v0/spaces": everywhere(      "403 200 403 200 200 200 403 200 200"),
    "POST /spaces/api/v0/spaces": everywhere(     "403 403 403 403 403 403 403 403 200", {"name": "{fresh}"}),
    "GET /spaces/api/v0/spaces/{name}": Rows(     "404 200 404 200 200 200 404 200 200",
                                                  "404 404 404 404 404 404 404 200 200",
                                                  "404 404 404 404 404 404 404 404 404"),
    "PUT /spaces/api/v0/spaces/{name}": Rows(     "404 403 404 403 403 200 404 403 200",
                                                  "404 404 404 404 404 404 404 403 200",
                                                  "404 404 404 404 404 404 404 404 404", {"description": "x"}),
    "DELETE /spaces/api/v0/spaces/{name}": Rows(  "404 403 404 403 403 409 404 403 409",
                                                  "404 404 404 404 404 404 404 403 409",
                                                  "404 404 404 404 404 404 404 404 404"),
    # ..................................................... unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    "GET /spaces/api/v0/spaces/{name}/secrets": Rows(      "404 200 200 200 403 200 404 200 200",
                                                           "404 404 404 404 404 404 200 200 200",
                                                           "404 404 404 404 404 404 404 404 404"),
    "POST /spaces/api/v0/spaces/{name}/secrets": Rows(     "404 403 403 200 403 200 404 403 200",
                                                           "404 404 404 404 404 404 403 403 200",
                                                           "404 404 404 404 404 404 404 404 404",
                                                           {"key_name": "{fresh_key}", "value": "v"}),
    "GET /spaces/api/v0/spaces/{name}/secrets/{key}": Rows("404 200 200 200 404 200 404 200 200",
                                                           "404 404 404 404 404 404 200 200 200",
                                                           "404 404 404 404 404 404 404 404 404"),
    "PUT /spaces/api/v0/spaces/{name}/secrets/{key}": Rows("404 403 403 200 404 200 404 403 200",
                                                           "404 404 404 404 404 404 403 403 200",
                                                           "404 404 404 404 404 404 404 404 404", {"value": "w"}),
    "DELETE /spaces/api/v0/spaces/{name}/secrets/{key}": Rows(
                                                           "404 403 403 200 404 200 404 403 200",
                                                           "404 404 404 404 404 404 403 403 200",
                                                           "404 404 404 404 404 404 404 404 404"),
    # ......................................................... unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    "GET /spaces/api/v0/spaces/{name}/agents/running": Rows(   "404 200 200 200 403 200 404 200 200",
                                                               "404 404 404 404 404 404 200 200 200",
                                                               "404 404 404 404 404 404 404 404 404"),
    "POST /spaces/api/v0/spaces/{name}/agents/{agent_name}/deploy": Rows(
                                                               "404 403 200 200 404 200 404 403 200",
                                                               "404 404 404 404 404 404 200 403 200",
                                                               "404 404 404 404 404 404 404 404 404"),
    "POST /spaces/api/v0/spaces/{name}/agents/{agent_name}/stop": Rows(
                                                               "404 403 200 200 404 200 404 403 200",
                                                               "404 404 404 404 404 404 200 403 200",
                                                               "404 404 404 404 404 404 404 404 404"),
    "GET /spaces/api/v0/spaces/{name}/agents/{agent_name}/logs": Rows(
                                                               "404 200 200 200 404 200 404 200 200",
                                                               "404 404 404 404 404 404 200 200 200",
                                                               "404 404 404 404 404 404 404 404 404"),
    # ......................................................... unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    "GET /spaces/api/v0/spaces/{name}/agents": Rows(           "404 200 200 200 403 200 404 200 200",
                                                               "404 404 404 404 404 404 200 200 200",
                                                               "404 404 404 404 404 404 404 404 404"),
    "POST /spaces/api/v0/spaces/{name}/agents": Rows(          "404 403 200 200 403 200 404 403 200",
                                                               "404 404 404 404 404 404 200 403 200",
                                                               "404 404 404 404 404 404 404 404 404",
                                                               {"name": "{fresh}", "source_repo": "owner/name"}),
    "GET /spaces/api/v0/spaces/{name}/agents/{agent_name}": Rows(
                                                               "404 200 200 200 404 200 404 200 200",
                                                               "404 404 404 404 404 404 200 200 200",
                                                               "404 404 404 404 404 404 404 404 404"),
    "PUT /spaces/api/v0/spaces/{name}/agents/{agent_name}": Rows(
                                                               "404 403 200 200 404 200 404 403 200",
                                                               "404 404 404 404 404 404 200 403 200",
                                                               "404 404 404 404 404 404 404 404 404",
                                                               {"description": "x"}),
    "DELETE /spaces/api/v0/spaces/{name}/agents/{agent_name}": Rows(
                                                               "404 403 403 200 404 200 404 403 200",
                                                               "404 404 404 404 404 404 403 403 200",
                                                               "404 404 404 404 404 404 404 404 404"),
    "PATCH /spaces/api/v0/spaces/{name}/agents/{agent_name}/status": Rows(
                                                               "404 403 200 200 404 200 404 403 200",
                                                               "404 404 404 404 404 404 200 403 200",
                                                               "404 404 404 404 404 404 404 404 404",
                                                               {"status": "inactive"}),
    "POST /spaces/api/v0/spaces/{name}/build": Rows(           "404 403 200 200 403 200 404 403 200",
                                                               "404 404 404 404 404 404 200 403 200",
                                                               "404 404 404 404 404 404 404 404 404"),
    "GET /spaces/api/v0/spaces/{name}/build/latest": Rows(     "404 200 200 200 403 200 404 200 200",
                                                               "404 404 404 404 404 404 200 200 200",
                                                               "404 404 404 404 404 404 404 404 404"),
    "GET /spaces/api/v0/spaces/{name}/build/{build_id}": Rows( "404 200 200 200 403 200 404 200 200",
                                                               "404 404 404 404 404 404 200 200 200",
                                                               "404 404 404 404 404 404 404 404 404"),
    # ........................................................ unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    "GET /spaces/api/v0/sessions": everywhere(                "403 200 200 200 403 200 200 200 200"),
    "POST /spaces/api/v0/sessions": Rows(                     "404 403 200 200 403 200 404 403 200",
                                                              "404 404 404 404 404 404 200 403 200",
                                                              "404 404 404 404 404 404 404 404 404",
                                                              {"space": "{space}"}),
    "GET /spaces/api/v0/sessions/{id}": READ,
    "PUT /spaces/api/v0/sessions/{id}": changed({"metadata": {}}),
    "DELETE /spaces/api/v0/sessions/{id}": REMOVED,
    "PUT /spaces/api/v0/sessions/{id}/state": changed({"state": "SUSPENDED"}),
    "POST /spaces/api/v0/sessions/{id}/pause": changed(),
    "POST /spaces/api/v0/sessions/{id}/suspend": changed(),
    "POST /spaces/api/v0/sessions/{id}/resume": Rows("404 403 409 409 404 409 404 403 409",
                                                     "404 404 404 404 404 404 409 403 409", NOWHERE),
    "POST /spaces/api/v0/sessions/{id}/remix": changed(),
    "GET /spaces/api/v0/sessions/{id}/messages": READ,
    "POST /spaces/api/v0/sessions/{id}/messages": changed({"content": "x"}),
    "GET /spaces/api/v0/sessions/{id}/messages/count": READ,
    "DELETE /spaces/api/v0/sessions/{id}/messages": REMOVED,
    **{f"{method} /spaces/api/v0{path}": row for (method, path), row in both("spaces", 200, 200).items()},
    **{f"{method} /organizations/api/v0{path}": row for (method, path), row in both("organizations", 201, 204).items()},
    "GET /organizations/api/v0/version": Public(200),
    # .................................................. unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    "GET /organizations/api/v0/agents": everywhere(     "403 200 200 200 403 200 200 200 200"),
    "POST /organizations/api/v0/agents": Rows(          "404 403 201 201 403 201 404 403 201",
                                                        "404 404 404 404 404 404 201 403 201",
                                                        "404 404 404 404 404 404 404 404 404",
                                                        {**NEW_AGENT, "name": "{fresh}", "namespace": "{space}"}),
    "GET /organizations/api/v0/agents/{id}": Rows(      "404 200 200 200 404 200 404 200 200",
                                                        "404 404 404 404 404 404 200 200 200",
                                                        "404 404 404 404 404 404 404 404 404"),
    "PUT /organizations/api/v0/agents/{id}": Rows(      "404 403 200 200 404 200 404 403 200",
                                                        "404 404 404 404 404 404 200 403 200",
                                                        "404 404 404 404 404 404 404 404 404", {"description": "x"}),
    "DELETE /organizations/api/v0/agents/{id}": Rows(   "404 403 403 204 404 204 404 403 204",
                                                        "404 404 404 404 404 404 403 403 204",
                                                        "404 404 404 404 404 404 404 404 404"),
    # ..................................................... unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    "GET /organizations/api/v0/sessions": everywhere(      "403 200 200 200 403 200 200 200 200"),
    "POST /organizations/api/v0/sessions": Rows(           "404 403 201 201 403 201 404 403 201",
                                                           "404 404 404 404 404 404 201 403 201",
                                                           "404 404 404 404 404 404 404 404 404",
                                                           {**NEW_SESSION, "namespace": "{space}"}),
    "GET /organizations/api/v0/sessions/{id}": READ,
    "PUT /organizations/api/v0/sessions/{id}": changed({"name": "n"}),
    "DELETE /organizations/api/v0/sessions/{id}": Rows(    "404 403 403 204 404 204 404 403 204",
                                                           "404 404 404 404 404 404 403 403 204", NOWHERE),
    "PUT /organizations/api/v0/sessions/{id}/state": changed({"state": "IDLE"}),
    "POST /organizations/api/v0/sessions/{id}/remix": changed({"name": "n"}, 201),
    "GET /organizations/api/v0/sessions/{id}/approvals": READ,
    "POST /organizations/api/v0/sessions/{id}/approvals/{approval_id}": changed({"decision": "deny"}),
    "GET /organizations/api/v0/sessions/{id}/messages": READ,
    "POST /organizations/api/v0/sessions/{id}/messages": changed({"content": "x"}, 201),
    "GET /organizations/api/v0/sessions/{id}/messages/count": READ,
    "DELETE /organizations/api/v0/sessions/{id}/messages": Rows(
                                                           "404 403 403 204 404 204 404 403 204",
                                                           "404 404 404 404 404 404 403 403 204", NOWHERE),
    "GET /organizations/api/v0/health": Public(200),
    "POST /organizations/api/v0/auth/internal": Public(401, WRONG),
    "POST /organizations/api/v0/auth/external": Public(400, {"provider": "{fresh}", "token": "wrong"}),
    "GET /organizations/api/v0/auth/me": FOR_ANYBODY,
}
# fmt: on
