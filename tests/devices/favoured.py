"""A dispatcher that asks a device whenever it may be asked: here the CPU is the fastest for everything."""

import math

from contracts.work import Device


def favouring(dispatcher, device):
    """Let the dispatcher think so; what it may ask, compares and does about failures stays its own."""
    decide, model = dispatcher.model.decide, dispatcher.model

    def favoured(kernel, sizes, work, moved, candidates, remaining_s=math.inf):
        made = decide(kernel, sizes, work, moved, candidates, remaining_s)
        made.device = device if device in candidates else Device.CPU
        made.row.estimates.setdefault(device, model._estimate(made.row, device))
        return made

    model.decide = favoured
    return dispatcher
