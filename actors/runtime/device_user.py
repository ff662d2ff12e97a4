"""What an actor is that lets devices compute: it knows what was measured of them, and writes down what it learns."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection

from actors.runtime.base import WorkloadActor
from contracts.work import Device
from devices.calibration import Journal, seeded
from devices.detect import device_folder
from devices.dispatch import Dispatcher

_log = logging.getLogger(__name__)


class DeviceUser(WorkloadActor):
    """An actor whose `devices` run kernels, and whose `journal` has what all actors of the run learned."""

    devices: Dispatcher  # type: ignore[assignment]  # made in `prepare`
    journal: Journal  # type: ignore[assignment]

    def find_devices(self, name: str, among: Collection[Device] = tuple(Device)) -> None:
        """Look for the devices of this machine, and measure them behind the actor's back where nobody has yet.

        Until then the CPU computes. On a machine with a CPU alone there is nothing to choose, and nothing is measured
        beforehand. Nothing runs for a device that is not `among` those that may compute for the actor.
        """
        self.journal = Journal(device_folder(), self.name or name)
        self.devices = Dispatcher(among=among)
        if self.devices.lanes:
            threading.Thread(target=self._calibrated, name="calibration", daemon=True).start()

    def _calibrated(self) -> None:
        try:
            self.devices.await_ready()
            seeded(self.devices, device_folder())
        except Exception:  # noqa: BLE001  without it the model learns from live calls alone
            _log.exception("the devices were not measured")
