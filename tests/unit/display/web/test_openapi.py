import re

import pytest
from openapi_spec_validator import validate
from starlette.routing import Mount, WebSocketRoute

from camlink.display.live import Live
from camlink.display.web.access import Access, Role
from camlink.display.web.action import PATH, Action
from camlink.display.web.app import LOOPBACK, build_app
from camlink.display.web.audit import Audit
from camlink.display.web.door import Door
from camlink.display.web.openapi import describe
from camlink.display.web.ordering import ORDERS, actions_of


@pytest.fixture
def actions():
    return {"invite": Action(Role.OWNER, lambda who, _: None, dict[str, str]), **actions_of(lambda _: None)}


def test_the_schema_is_valid_and_names_every_route_and_action(actions):
    told = describe(actions)
    validate(told)
    app = build_app(Live(), hosts=LOOPBACK, door=Door(Access(), Audit(), lambda _: True), actions=actions,
                    dashboards={})
    routes = [r for r in app._app.routes if not isinstance(r, Mount | WebSocketRoute)]
    served = {(re.sub(r":\w+}", "}", route.path), method.lower()) for route in routes
              for method in route.methods - {"HEAD"}}
    served.remove((PATH + "{name}", "post"))
    served |= {(PATH + name, "post") for name in actions}
    assert served == {(path, method) for path, methods in told["paths"].items() for method in methods}


def test_an_action_is_described_by_the_record_that_it_takes(actions):
    told = describe(actions)
    for name, (record, _) in ORDERS.items():
        body = told["paths"][PATH + name]["post"]["requestBody"]["content"]["application/json"]["schema"]
        known = told["components"]["schemas"][body["$ref"].rpartition("/")[2]]
        assert set(known["properties"]) == {"type", *record.__struct_fields__}
