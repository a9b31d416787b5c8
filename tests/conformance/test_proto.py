"""The proto messages of both packages: names, fields and numbers, and so the bytes, are the same."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from tinker.proto import tinker_public_pb2 as official

from tinkex.wire import messages_pb2 as ours

FILE = FileDescriptorProto.FromString(official.DESCRIPTOR.serialized_pb)


def described(message: DescriptorProto, package: str) -> dict[str, tuple[object, ...]]:
    """The fields of a message, and of the entries of its maps, by name."""
    oneofs = [oneof.name for oneof in message.oneof_decl]
    fields: dict[str, tuple[object, ...]] = {
        field.name: (
            field.number,
            field.type,
            field.label,
            field.type_name.removeprefix(f".{package}."),
            field.proto3_optional,
            oneofs[field.oneof_index] if field.HasField("oneof_index") else None,
        )
        for field in message.field
    }
    for nested in message.nested_type:
        fields |= {f"{nested.name}.{name}": value for name, value in described(nested, package).items()}
    return fields


def test_the_messages_are_the_same() -> None:
    mine = FileDescriptorProto.FromString(ours.DESCRIPTOR.serialized_pb)
    theirs = {message.name: described(message, FILE.package) for message in FILE.message_type}
    assert {message.name: described(message, mine.package) for message in mine.message_type} == theirs


def test_the_enums_are_the_same() -> None:
    for enum in FILE.enum_type:
        assert getattr(ours, enum.name).items() == getattr(official, enum.name).items()


def test_both_live_in_one_process_and_read_each_other() -> None:
    sent = official.SampleResponse(sequences=[official.SampledSequence(stop_reason=1, tokens=b"abcd")])
    read = ours.SampleResponse.FromString(sent.SerializeToString())
    assert read.sequences[0].stop_reason == ours.STOP_REASON_LENGTH
    assert read.SerializeToString() == sent.SerializeToString()
