"""Threads that wait for work: they sleep, and leave the processor to other programs.

OpenMP's threads, as torch uses them, spin while they wait. Two programs of two
threads each on two cores then slow each other down more than nine times; with
OMP_WAIT_POLICY=PASSIVE they run side by side, and a single one loses nothing.
The setting is read when torch is loaded, so that it has to be made before.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

WAIT_POLICY = "PASSIVE"


def let_waiting_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set OMP_WAIT_POLICY=PASSIVE in `environment`, unless the user has chosen a policy.

    >>> environment = {}
    >>> let_waiting_threads_sleep(environment)
    >>> environment
    {'OMP_WAIT_POLICY': 'PASSIVE'}
    """
    environment.setdefault("OMP_WAIT_POLICY", WAIT_POLICY)
