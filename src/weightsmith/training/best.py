"""The best validation loss so far, and when to stop waiting for a better one."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class BestSoFar:
    """The lowest validation loss yet, its epoch, and the validations since the last improvement that counts.

    Any lower loss is the new best. An improvement counts, and starts the waiting anew, where the loss is below
    `reference - margin |reference|`; the reference is the loss of the last one that counted. So many steps
    that are each too small still come to one that counts. A loss that is not finite is no improvement.
    """

    margin: float = 0.0
    loss: float = math.inf
    epoch: int = 0
    reference: float = math.inf
    waited: int = 0

    def note(self, loss: float, epoch: int) -> bool:
        """Take in one validation; whether it is the best so far."""
        if not math.isfinite(loss):
            self.waited += 1
            return False
        if math.isinf(self.reference) or loss < self.reference - self.margin * abs(self.reference):
            self.reference, self.waited = loss, 0
        else:
            self.waited += 1
        if loss >= self.loss:
            return False
        self.loss, self.epoch = loss, epoch
        return True
