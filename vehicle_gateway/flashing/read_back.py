"""What a boot loader says of the image that runs."""

from typing import Final

from protocols.uds import Nrc, requests
from protocols.uds.slot_digest import DIGEST_LENGTH, SIGNATURE_LENGTH
from vehicle_gateway.flashing.dialogue import Dialogue
from vehicle_gateway.update import ReadBack, UpdateError
from vehicle_gateway.wires.tester import NegativeResponseError

#: How an ECU without a running image says so when it is asked for the digest.
_NO_IMAGE: Final = frozenset(
    {
        Nrc.SERVICE_NOT_SUPPORTED,
        Nrc.SUB_FUNCTION_NOT_SUPPORTED,
        Nrc.CONDITIONS_NOT_CORRECT,
        Nrc.REQUEST_OUT_OF_RANGE,
        Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION,
        Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION,
    }
)


async def read_back(dialogue: Dialogue, step: str, rid: int, nonce: bytes) -> ReadBack | None:
    """The boot loader's statement of the active slot; None where it has no image to speak of."""
    request = requests.start_routine(rid, nonce)
    try:
        answer = await dialogue.ask(step, request)
    except UpdateError as error:
        refusal = error.__cause__
        if isinstance(refusal, NegativeResponseError) and refusal.code in _NO_IMAGE:
            return None
        raise
    status = answer[4:]
    if len(status) != 1 + DIGEST_LENGTH + SIGNATURE_LENGTH:
        raise UpdateError(
            ecu=dialogue.ecu.name,
            step=step,
            cause=f"a digest record of {len(status)} bytes",
        )
    if status[0] != 0:
        return None
    return ReadBack(
        nonce=nonce,
        image_sha256=status[1 : 1 + DIGEST_LENGTH],
        signature=status[1 + DIGEST_LENGTH :],
    )
