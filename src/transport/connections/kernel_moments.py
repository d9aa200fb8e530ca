"""What the kernel noted about the ends of a request, entered into its record."""

from __future__ import annotations

from dataclasses import replace

from ..net.transmit_stamps import SentSpan, TransmitStamps
from ..profile.moments import Moment
from ..profile.recorder import Recorder


def enter_stamps(recorder: Recorder, stamps: TransmitStamps, span: SentSpan) -> None:
    """Close the books on a request whose sample has been taken.

    Its last acknowledgement is known exactly then, and no longer as it was seen by asking.
    """
    stamps.finish(span)
    leg = recorder.leg
    if leg.sample is not None:
        leg.sample = replace(
            leg.sample,
            first_byte_sent=span.first_sent_ns,
            last_byte_sent=span.last_sent_ns,
            last_byte_acked=span.last_acked_ns,
        )
    sent = leg.times[Moment.REQUEST_END]
    if span.last_acked_ns is not None and sent is not None:
        # On loopback it can come in before the system call that sent the byte has returned.
        recorder.mark(Moment.REQUEST_ACKED, max(span.last_acked_ns, sent))
