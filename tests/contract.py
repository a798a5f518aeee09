"""The contract between processes, as data: what two versions of it would misunderstand, and a made-up next version.

`proto/released/<version>.binpb` is the contract of each release as protoc describes it (`make contract` writes this
version's). Used by tests/test_versions.py, and by those of what may be repeated.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from palaver.rpc import method_name
from palaver.v1 import auth_pb2, event_pb2, integration_pb2, messaging_pb2, presence_pb2, team_pb2

# Each after those that it imports.
_MODULES = (event_pb2, auth_pb2, presence_pb2, integration_pb2, team_pb2, messaging_pb2)
_RELEASED = Path(__file__).parents[1] / "proto" / "released"


def list_released() -> list[str]:
    """The versions whose contract is kept, oldest first."""
    return sorted((path.stem for path in _RELEASED.glob("*.binpb")), key=lambda v: [int(n) for n in v.split(".")])


def read_released(version: str) -> FileDescriptorSet:
    """The contract of a release."""
    return FileDescriptorSet.FromString((_RELEASED / f"{version}.binpb").read_bytes())


def describe() -> FileDescriptorSet:
    """The contract as it is now."""
    found = FileDescriptorSet()
    for module in _MODULES:
        module.DESCRIPTOR.CopyToProto(found.file.add())
    return found


# -- what must not change ----------------------------------------------------------------------------------------------


def list_breaks(before: FileDescriptorSet, now: FileDescriptorSet) -> list[str]:
    """What processes of these two versions would misunderstand of each other, a line each.

    Whatever was there is there, with its name, number and type. What was marked as deprecated may be gone, if nothing
    else can take its name and number.
    """
    messages, enums, services = _index(now)
    old_messages, old_enums, old_services = _index(before)
    breaks: list[str] = []
    for name, message in old_messages.items():
        if name in messages:
            breaks += _list_message_breaks(name, message, messages[name])
        elif not message.options.deprecated:
            breaks.append(f"{name} is gone")
    for name, enum in old_enums.items():
        values = {value.number: value.name for value in enums[name].value} if name in enums else {}
        breaks += [
            f"{name}.{value.name} = {value.number} is gone or another one"
            for value in enum.value
            if values.get(value.number) != value.name
        ]
    for name, service in old_services.items():
        breaks += _list_service_breaks(name, service, services.get(name, ServiceDescriptorProto()))
    return breaks


def _list_message_breaks(name: str, before: DescriptorProto, now: DescriptorProto) -> Iterator[str]:
    by_number = {field.number: field for field in now.field}
    for field in before.field:
        found = by_number.get(field.number)
        if found is not None:
            if _shape(before, field) != _shape(now, found):
                yield f"{name}.{field.name} = {field.number} is another one"
        elif not field.options.deprecated:
            yield f"{name}.{field.name} = {field.number} is gone"
        elif field.name not in now.reserved_name or not any(
            taken.start <= field.number < taken.end for taken in now.reserved_range
        ):
            yield f"{name}.{field.name} = {field.number} is gone, and its name or number is not reserved"


def _shape(message: DescriptorProto, field: FieldDescriptorProto) -> tuple[Any, ...]:
    group = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    return field.name, field.type, field.type_name, field.label, group


def _list_service_breaks(name: str, before: ServiceDescriptorProto, now: ServiceDescriptorProto) -> Iterator[str]:
    by_name = {method.name: method for method in now.method}
    for method in before.method:
        found = by_name.get(method.name)
        if found is None:
            if not method.options.deprecated:
                yield f"{name}.{method.name} is gone"
        elif (method.input_type, method.output_type) != (found.input_type, found.output_type):
            yield f"{name}.{method.name} takes or gives something else"
        elif _may_repeat(method) and not _may_repeat(found):
            yield f"{name}.{method.name} may not be repeated any more, and older callers repeat it"


def idempotent_methods(service: ServiceDescriptor) -> set[str]:
    """The names of the methods that change something, and of which the contract says that twice is once."""
    levels = {method_name(method): method.GetOptions().idempotency_level for method in service.methods}
    return {name for name, level in levels.items() if level == MethodOptions.IDEMPOTENT}


def _may_repeat(method: MethodDescriptorProto) -> bool:
    return method.options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN


def _index(
    files: FileDescriptorSet,
) -> tuple[Mapping[str, DescriptorProto], Mapping[str, EnumDescriptorProto], Mapping[str, ServiceDescriptorProto]]:
    messages: dict[str, DescriptorProto] = {}
    enums: dict[str, EnumDescriptorProto] = {}
    services: dict[str, ServiceDescriptorProto] = {}

    def add(prefix: str, message: DescriptorProto) -> None:
        name = f"{prefix}.{message.name}"
        messages[name] = message
        enums.update((f"{name}.{enum.name}", enum) for enum in message.enum_type)
        for nested in message.nested_type:
            add(name, nested)

    for file in files.file:
        for message in file.message_type:
            add(file.package, message)
        enums.update((f"{file.package}.{enum.name}", enum) for enum in file.enum_type)
        services.update((f"{file.package}.{service.name}", service) for service in file.service)
    return messages, enums, services


# -- a next version ----------------------------------------------------------------------------------------------------

NEW_FIELD = "of_a_newer_version"
NEW_METHOD = "DoSomethingNewer"
NEW_FACT = "something_newer_happened"


class NewerContract:
    """This contract and more: a field in every message, a method in every service, another kind of event."""

    def __init__(self) -> None:
        self._pool = DescriptorPool()
        for file in describe().file:
            self._pool.Add(_grow(file))

    def of(self, message: Any) -> Any:
        """The class of the message with this descriptor's name."""
        return GetMessageClass(self._pool.FindMessageTypeByName(message.full_name))

    def service(self, descriptor: ServiceDescriptor) -> ServiceDescriptor:
        """The service of this name."""
        return self._pool.FindServiceByName(descriptor.full_name)

    def say_more(self, message: Message) -> Any:
        """The same message as a newer process would send it, with something more in it and in every part of it."""
        newer = self.of(message.DESCRIPTOR).FromString(message.SerializeToString())
        _fill(newer)
        return newer


def _grow(file: FileDescriptorProto) -> FileDescriptorProto:
    for message in file.message_type:
        if message.name == "Event":
            message.field.add(
                name=NEW_FACT,
                number=39,
                type=FieldDescriptorProto.TYPE_MESSAGE,
                label=FieldDescriptorProto.LABEL_OPTIONAL,
                type_name=f".{file.package}.SomethingNewerHappened",
                oneof_index=[group.name for group in message.oneof_decl].index("fact"),
            )
            file.message_type.add(name="SomethingNewerHappened")
    for message in file.message_type:
        _grow_message(message)
    for service in file.service:
        service.method.add(name=NEW_METHOD, input_type=f".{file.package}.Empty", output_type=f".{file.package}.Empty")
    return file


def _grow_message(message: DescriptorProto) -> None:
    message.field.add(
        name=NEW_FIELD,
        number=15_000,
        type=FieldDescriptorProto.TYPE_STRING,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )
    for nested in message.nested_type:
        _grow_message(nested)


def _fill(message: Any) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                _fill(part)
    setattr(message, NEW_FIELD, "something that only newer processes know")
