"""Invites by REST, and registration by one."""

from tests.gateway.rest import Client, new_user
from tests.gateway.rooms import make_group


async def test_an_invite_is_made_validated_used_and_removed(
    admin: Client, alice: Client, bob: Client, anybody: Client
) -> None:
    room_id = await make_group(alice, "dev")
    invite = await alice.post("findOrCreateInvite", rid=room_id, days=1, maxUses=5)
    assert invite["url"].endswith(f"/invite/{invite['_id']}")
    assert (invite["rid"], invite["days"], invite["maxUses"], invite["uses"]) == (room_id, 1, 5, 0)
    await alice.post("findOrCreateInvite", 400, rid=room_id, days=1)
    await bob.post("findOrCreateInvite", 400, rid=room_id, days=1, maxUses=5)
    assert (await anybody.post("validateInviteToken", token=invite["_id"]))["valid"] is True
    assert (await anybody.post("validateInviteToken", token="unknown"))["valid"] is False
    used = (await bob.post("useInviteToken", token=invite["_id"]))["room"]
    assert used == {"rid": room_id, "name": "dev", "fname": "dev", "t": "p"}
    assert (await bob.post("useInviteToken", 400, token="unknown"))["errorType"] == "error-invalid-token"
    listed = await admin.request("GET", "listInvites")
    assert [(one["_id"], one["uses"]) for one in listed.json()] == [(invite["_id"], 1)]
    await bob.get("listInvites", 400)
    assert (await alice.request("DELETE", f"removeInvite/{invite['_id']}")).json() == {"success": True}
    assert (await alice.request("DELETE", f"removeInvite/{invite['_id']}")).status_code == 400
    assert (await anybody.post("validateInviteToken", token=invite["_id"]))["valid"] is False


async def test_an_invite_is_a_secret_to_register_with(admin: Client, alice: Client, anybody: Client) -> None:
    room_id = await make_group(alice, "dev")
    token = (await alice.post("findOrCreateInvite", rid=room_id, days=1, maxUses=5))["_id"]
    await admin.post("settings/Accounts_RegistrationForm", value="Secret URL")
    form = new_user("carol")
    form["pass"] = form.pop("password")
    del form["verified"]
    refused = await anybody.post("users.register", 400, **form, secret="unknown")
    assert refused["errorType"] == "error-user-registration-secret"
    await anybody.post("users.register", **form, secret=token)
    carol = await anybody.login("carol")
    assert (await carol.post("useInviteToken", token=token))["room"]["rid"] == room_id
