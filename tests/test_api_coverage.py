"""The page of what is there of the public surface is current, and counts rightly."""

from docs.generate_api_coverage import PAGE, build_page, declared_endpoints, declared_methods, unnamed


def test_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == build_page(), "run 'make coverage-page'"


def test_what_is_declared_is_found() -> None:
    declared = declared_endpoints()
    assert declared["POST", "/api/v1/login"] == "/api/v1/login"
    assert declared["GET", "/api/v1/settings/:"] == "/api/v1/settings/:_id"
    assert ("GET", "/api/info") in declared
    assert {"login", "permissions/get", "UserPresence:online"} <= declared_methods()


def test_names_of_parameters_do_not_count() -> None:
    assert unnamed("/api/v1/rooms.upload/:rid") == unnamed("/api/v1/rooms.upload/:room_id") == "/api/v1/rooms.upload/:"
