"""Transfers of memory (34, 36, 37)."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Job, Nrc, Refusal
from ecu_sim.diagnostics.download import Download
from ecu_sim.diagnostics.handling import Handler, Request, length_format, memory_range, positive
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work, done
from protocols.uds import ServiceId


def _request_download(state: ServerState, request: Request) -> Answer:
    data_format = request.data[1]
    address, size, _ = memory_range(request.data, 2)
    decoder = state.device.decoder(data_format, size)
    if state.download is not None or state.upload is not None:
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "a transfer is under way")
    max_block_length = state.device.request_download(address, size)
    state.transfer_access = state.rules.services[ServiceId.REQUEST_DOWNLOAD]
    state.download = Download(state.device, decoder, max_block_length=max_block_length)
    return Answer(positive(ServiceId.REQUEST_DOWNLOAD, length_format(max_block_length)))


def _active_download(state: ServerState) -> Download:
    if state.download is None:
        raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR)
    return state.download


def _end_download(state: ServerState) -> None:
    if state.download is not None:
        state.download.abort()
    state.download = None


def _transfer_data(state: ServerState, request: Request) -> Answer | Work:
    if state.upload is not None:
        return Answer(positive(ServiceId.TRANSFER_DATA, state.upload.block(request.data)))
    download = _active_download(state)
    _check(state, download, partial(download.check, request.data))
    answer = Answer(positive(ServiceId.TRANSFER_DATA, request.data[1:2]))
    if download.is_repeated(request.data[1]):
        return answer
    if not download.full:
        _check(state, download, partial(download.take, request.data, now=request.now))
        return answer
    return Work(
        start=partial(_take_late, state, download, request.data),
        finish=lambda _: answer,
        waits=lambda: download.full,
    )


def _check(state: ServerState, download: Download, check: Callable[[], None]) -> None:
    """Run a check; a download that failed is over once that has been told."""
    try:
        check()
    except Refusal:
        if download.failure is not None:
            _end_download(state)
        raise


def _take_late(state: ServerState, download: Download, block: bytes, now: float) -> Job:
    _check(state, download, partial(download.check, block))
    _check(state, download, partial(download.take, block, now=now))
    return done()


def _transfer_exit(state: ServerState, _request: Request) -> Answer | Work:
    if state.upload is not None:
        state.upload.check_exit()
        state.upload = None
        return Answer(positive(ServiceId.REQUEST_TRANSFER_EXIT))
    download = _active_download(state)
    _check(state, download, download.check_exit)
    return Work(
        start=lambda _: _exit(state, download),
        finish=lambda record: Answer(positive(ServiceId.REQUEST_TRANSFER_EXIT, record)),
        waits=lambda: download.busy,
    )


def _exit(state: ServerState, download: Download) -> Job:
    try:
        record = yield from download.exit()
    except Refusal:
        _end_download(state)
        raise
    state.download = None
    return record


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {
        ServiceId.REQUEST_DOWNLOAD: _request_download,
        ServiceId.TRANSFER_DATA: _transfer_data,
        ServiceId.REQUEST_TRANSFER_EXIT: _transfer_exit,
    }
)
