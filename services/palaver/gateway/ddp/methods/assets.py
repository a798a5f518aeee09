"""Methods of logo, icons and background. Their REST twins are in `rest/assets.py`."""

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import assets
from palaver.gateway.operations.media import binary


@method("setAsset", str, str, str)
async def set_asset(call: Call, content: str, content_type: str, name: str) -> None:
    assets.check_may_manage(call)
    await assets.set_asset(call, name, binary(content))


@method("unsetAsset", str)
async def unset_asset(call: Call, name: str) -> None:
    await assets.unset_asset(call, name)
