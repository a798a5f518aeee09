"""Who may be here no longer: accounts that are deactivated or deleted."""

from palaver.gateway.call import Call
from palaver.gateway.operations import users
from palaver.gateway.rest.endpoint import Answer, LooseParams, Params, endpoint
from palaver.gateway.rest.errors import Failure, Forbidden


class ActiveBody(Params, rename="camel"):
    user_id: str
    active_status: bool
    confirm_relinquish: bool = False


class IdleBody(Params, rename="camel"):
    days_idle: int
    role: str = "user"


class DeleteBody(LooseParams, rename="camel"):
    user_id: str | None = None
    username: str | None = None
    user: str | None = None
    confirm_relinquish: bool = False


class DeleteOwnBody(LooseParams, rename="camel"):
    password: str = ""
    confirm_relinquish: bool = False


@endpoint("POST", "users.setActiveStatus", body=ActiveBody)
async def set_active_status(call: Call, body: ActiveBody) -> Answer:
    await users.set_active(call, body.user_id, body.active_status, confirm_relinquish=body.confirm_relinquish)
    return {"user": {"_id": body.user_id, "active": body.active_status}}


@endpoint("POST", "users.deactivateIdle", body=IdleBody)
async def deactivate_idle(call: Call, body: IdleBody) -> Answer:
    if not call.may("edit-other-user-active-status"):
        raise Forbidden
    return {"count": await users.deactivate_idle(call, body.days_idle, body.role)}


@endpoint("POST", "users.delete", body=DeleteBody)
async def delete(call: Call, body: DeleteBody) -> Answer:
    if not call.may("delete-user"):
        raise Forbidden
    user = await users.get_user(call, body.user_id, body.username or body.user)
    await users.delete_user(call, user.id, confirm_relinquish=body.confirm_relinquish)
    return {}


@endpoint("POST", "users.deleteOwnAccount", body=DeleteOwnBody)
async def delete_own_account(call: Call, body: DeleteOwnBody) -> Answer:
    if not body.password:
        raise Failure('Body parameter "password" is required.')
    await users.delete_own(call, body.password, confirm_relinquish=body.confirm_relinquish)
    return {}
