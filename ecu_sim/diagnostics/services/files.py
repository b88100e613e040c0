"""Request file transfer (38); the file itself comes and goes by 36 and 37."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Files, Nrc, Refusal
from ecu_sim.diagnostics.download import Download
from ecu_sim.diagnostics.files import FileDownload, FileRequest, Suspended, directory
from ecu_sim.diagnostics.handling import Handler, Request, positive, require_access
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.upload import Upload
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds.data_formats import PLAIN, Decoder
from protocols.uds.enums import FileOperation, ServiceId
from protocols.uds.rules import file_operations

#: Bytes of a 36 or 76 of a file, whatever else the ECU's downloads take.
_MAX_BLOCK_LENGTH: Final = 0x402
#: Bytes of the sizes in 78 04 and 78 05, and of 78 06's filePosition.
_SIZE_LENGTH: Final = 4
_POSITION_LENGTH: Final = 8


def _request_file_transfer(state: ServerState, request: Request) -> Answer | Work:
    files = state.device.files
    operations = file_operations(state.rules.special, state.rules.edition)
    access = {int(operation): access for operation, access in operations.items()}
    require_access(state, request, access.get(request.data[1]))
    asked = FileRequest.decode(request.data)
    if files is None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "no file store")
    if state.download is not None or state.upload is not None:
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "a transfer is under way")
    state.transfer_access = access[asked.operation]
    match asked.operation:
        case FileOperation.ADD | FileOperation.REPLACE | FileOperation.RESUME:
            return _write(state, files, asked)
        case FileOperation.DELETE:
            if files.read(asked.path) is None:
                raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "no such file")
            return Work(
                start=lambda _: files.remove(asked.path),
                finish=lambda _: Answer(
                    positive(ServiceId.REQUEST_FILE_TRANSFER, bytes([asked.operation]))
                ),
            )
        case FileOperation.READ:
            return _read(state, asked, files.read(asked.path))
        case FileOperation.READ_DIRECTORY:
            return _read(state, asked, directory(files.paths(), asked.path))


def _write(state: ServerState, files: Files, asked: FileRequest) -> Answer:
    if asked.path == "/" or (
        asked.operation == FileOperation.ADD and files.read(asked.path) is not None
    ):
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "there is such a file")
    begun, position = Suspended(path=asked.path, size=asked.size, data=b""), b""
    if asked.operation == FileOperation.RESUME:
        found = state.suspended_file
        if found is None or (found.path, found.size) != (asked.path, asked.size):
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "no such file was broken off")
        begun, position = found, len(found.data).to_bytes(_POSITION_LENGTH)
    files.check_room(asked.path, asked.size)
    state.suspended_file = None

    def suspend(file: Suspended) -> None:
        state.suspended_file = file

    longest = _max_block_length(state)
    state.download = Download(
        FileDownload(files, begun, suspend),
        Decoder(PLAIN, size=asked.size - len(begun.data)),
        max_block_length=longest,
    )
    return _answer(asked, longest, position)


def _read(state: ServerState, asked: FileRequest, content: bytes | None) -> Answer:
    if content is None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "no such file or directory")
    longest = _max_block_length(state)
    state.upload = Upload(
        lambda start, size: content[start : start + size],
        address=0,
        size=len(content),
        max_block_length=longest,
    )
    size = len(content).to_bytes(_SIZE_LENGTH)
    # Uncompressed and compressed, where it is a file.
    sizes = size * (2 if asked.operation == FileOperation.READ else 1)
    return _answer(asked, longest, _SIZE_LENGTH.to_bytes(2) + sizes)


def _max_block_length(state: ServerState) -> int:
    return min(_MAX_BLOCK_LENGTH, state.max_response)


def _answer(asked: FileRequest, max_block_length: int, rest: bytes) -> Answer:
    """Unlike 74's, the length format identifier of 78 is the number of bytes and nothing more."""
    length = b"\x02" + max_block_length.to_bytes(2)
    head = bytes([asked.operation]) + length + bytes([asked.data_format])
    return Answer(positive(ServiceId.REQUEST_FILE_TRANSFER, head + rest))


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {ServiceId.REQUEST_FILE_TRANSFER: _request_file_transfer}
)
