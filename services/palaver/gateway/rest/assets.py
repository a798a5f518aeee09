"""Logo, icons and background of pages."""

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.multipart import MultipartForm, read_form
from palaver.gateway.operations import assets
from palaver.gateway.rest.endpoint import Answer, Params, endpoint
from palaver.gateway.uploads import Incoming


class UnsetBody(Params, rename="camel", kw_only=True):
    """`refreshAllClients`: they hear of the setting in any case."""

    asset_name: str
    refresh_all_clients: bool = False


@endpoint("POST", "assets.setAsset", form=("asset", "assetName", "refreshAllClients"))
async def set_asset(call: Call, incoming: Incoming) -> Answer:
    assets.check_may_manage(call)
    form = MultipartForm(incoming.request.headers.get("content-type", ""), incoming.request.stream())
    data, fields = await read_form(form, "asset", assets.MAX_BYTES)
    if data is None:
        raise InvalidInput("", code="No file uploaded")
    await assets.set_asset(call, fields.get("assetName", ""), data)
    return {}


@endpoint("POST", "assets.unsetAsset", body=UnsetBody)
async def unset_asset(call: Call, body: UnsetBody) -> Answer:
    await assets.unset_asset(call, body.asset_name)
    return {}
