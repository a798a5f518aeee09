"""Licenses: nothing is held back, and nothing is sold."""

from palaver.gateway.call import Call
from palaver.gateway.operations import licenses
from palaver.gateway.rest.endpoint import Answer, Params, endpoint
from palaver.gateway.rest.errors import Forbidden


class InfoQuery(Params, rename="camel"):
    load_values: bool = False


@endpoint("GET", "licenses.info", query=InfoQuery)
async def info(call: Call, query: InfoQuery) -> Answer:
    return {"license": licenses.license_info(call)}


@endpoint("GET", "licenses.get")
async def list_licenses(call: Call) -> Answer:
    if not call.may("view-privileged-setting"):
        raise Forbidden
    return {"licenses": []}


@endpoint("GET", "licenses.isEnterprise", login="optional")
async def is_enterprise(call: Call) -> Answer:
    return {"isEnterprise": True}
