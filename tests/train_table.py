"""What everybody is answered by the train's routes: see ``test_train_matrix.py``.

The expected statuses are written by hand from the rules, never computed. Whoever adds a route adds its rows. Who has
no right to a collection at all is told 403 of whatever he names there, so that nothing tells him what there is; who may
see some of it is told 404 of what he may not see.
"""

from crowd import Public, Rows, Table, everywhere

# fmt: off
# ................................ unb vw@A dv@A op@A ad@A kp@A dv@B view admin
SUMS = everywhere(                "403 200 403 403 403 200 403 200 200")
ONE = Rows(                       "403 200 403 403 403 200 403 200 200",
                                  "403 404 403 403 403 404 403 200 200",
                                  "403 404 403 403 403 404 403 404 404")


def upstream(done: int, body: object = None) -> Rows:
    """They belong to administrators; who may look at them in a space sees those that serve it."""
    return Rows(                 f"403 403 403 403 403 403 403 403 {done}",
                                 f"403 403 403 403 403 404 403 403 {done}",
                                  "403 403 403 403 403 404 403 403 404", body)


TABLE: Table = {
    "GET /health": Public(200),
    "GET /token-stats": SUMS,
    "GET /api/stats": SUMS,
    "GET /api/token-usage/current": SUMS,
    "GET /api/token-usage/daily": SUMS,
    "GET /api/requests": SUMS,
    "GET /api/requests/{request_id}": ONE,
    "GET /api/conversations": SUMS,
    "GET /api/conversations/{conversation_id}": ONE,
    "GET /api/events": SUMS,
    # .......................................... unb vw@A dv@A op@A ad@A kp@A dv@B view admin
    "GET /api/audit": everywhere(               "403 403 403 403 403 403 403 200 200"),
    # Everybody has keys of his own, in the common space.
    "GET /api/keys": everywhere(                "200 200 200 200 200 200 200 200 200"),
    "POST /api/keys": Rows(                     "403 403 403 403 403 201 403 403 201",
                                                "403 403 403 403 403 403 403 403 201",
                                                "403 403 403 403 403 403 403 403 400",
                                                {"name": "{fresh}", "space": "{space}"}),
    "DELETE /api/keys/{key_id}": Rows(          "404 403 404 404 404 200 404 403 200",
                                                "404 404 404 404 404 404 404 403 200",
                                                "404 404 404 404 404 404 404 404 404"),
    "GET /api/upstreams": SUMS,
    "POST /api/upstreams": everywhere(          "403 403 403 403 403 403 403 403 201",
                                                {"name": "{fresh}", "provider": "custom", "base_url": "http://h"}),
    "GET /api/upstreams/{upstream}": ONE,
    "PUT /api/upstreams/{upstream}": upstream(200, {"default": True}),
    "POST /api/upstreams/{upstream}/refresh": upstream(400),
    "DELETE /api/upstreams/{upstream}": upstream(200),
}
# fmt: on
