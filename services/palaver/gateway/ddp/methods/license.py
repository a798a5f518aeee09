"""Methods of licenses. Their REST twins are in `rest/licenses.py`."""

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations.licenses import MODULES


@method("license:getModules", anonymous=True)
async def get_modules(call: Call) -> list[str]:
    return list(MODULES)


@method("license:isEnterprise", anonymous=True)
async def is_enterprise(call: Call) -> bool:
    return True


@method("license:hasLicense", str, anonymous=True)
async def has_license(call: Call, feature: str) -> bool:
    return feature in MODULES


@method("license:getTags", anonymous=True)
async def get_tags(call: Call) -> list[str]:
    return []
