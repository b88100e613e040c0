"""What goes wrong between two ISO-TP endpoints: one root, one class per result of the standard."""


class IsoTpError(Exception):
    """Root of this layer's errors."""


class ParameterError(IsoTpError):
    """Parameters that no endpoint can have."""


class FrameFormatError(IsoTpError):
    """Bytes that are no N_PDU; an endpoint ignores them (ISO 15765-2, 9.6.1 and 9.8.3)."""


class SendInProgressError(IsoTpError):
    """A message was handed over while the one before is still being sent."""


class MessageTooLongError(IsoTpError):
    """A message longer than the sender, the receiver or the addressing allows."""


class FrameNotSentError(IsoTpError):
    """N_TIMEOUT_A: the wire did not take a frame within N_As, or a flow control within N_Ar."""


class FrameLateError(IsoTpError):
    """N_Cs: we were too late to hand the next consecutive frame over."""


class FlowControlTimeoutError(IsoTpError):
    """N_TIMEOUT_Bs: no flow control within N_Bs."""


class ConsecutiveFrameTimeoutError(IsoTpError):
    """N_TIMEOUT_Cr: no consecutive frame within N_Cr."""


class SequenceNumberError(IsoTpError):
    """N_WRONG_SN: a consecutive frame is missing or repeated."""


class FlowStatusError(IsoTpError):
    """N_INVALID_FS: a flow control with a reserved flow status."""


class WaitLimitError(IsoTpError):
    """N_WFT_OVRN: more flow control WAIT frames in a row than are sent or put up with."""


class BufferOverflowError(IsoTpError):
    """N_BUFFER_OVFLW: the receiver has no room for the message."""


class UnexpectedFrameError(IsoTpError):
    """N_UNEXP_PDU: a new message began in the middle of one."""
