"""A simulated token API, for the demo, the tests and the benchmarks; it stands alone and knows nothing of auditor.

A *world* is the state of one environment; it starts from a seeded *fleet* and changes by its operations. *Capacity*
and *faults* decide how well the environment answers::

    clock = SteppedClock(now)
    world = World(generate(seed=7, size=200, now=now), clock=clock)
    own = world.create("auditor", ["metrics.read"])          # own.secret authenticates lookups
    async with serve({"prod": world}, capacity=Capacity(workers=20)) as simulator:
        simulator.url("prod")                                # http://127.0.0.1:PORT/e/prod
        world.disable(world.find(lambda token: token.enabled)[0].id)
        clock.advance(timedelta(days=1))
        simulator.environments["prod"].set_faults(Faults(plans=(Plan(token_id=…, then=Fault.RESET),)))

``secrets(seed, size)`` gives the fleet's secrets alone, to be written where a source reads them. Standalone, for a
person to play with: ``python -m auditor.simulator --size 200 --seed 7 --port 8080``.

``Environment`` of ``simulator.environments`` counts what it did: ``answers`` by status, ``lookups``, ``pool.counts``
(served, throttled, the longest queue) and ``injector.injected`` (faults by kind).
"""

from auditor.simulator.app import Environment, make_app
from auditor.simulator.capacity import Capacity
from auditor.simulator.faults import Fault, Faults, Plan
from auditor.simulator.fleet import generate, secrets
from auditor.simulator.quota import Quota
from auditor.simulator.server import Simulator, serve
from auditor.simulator.token import Condition, SimulatedToken, Token
from auditor.simulator.world import SteppedClock, UnknownToken, World

__all__ = [
    "Capacity",
    "Condition",
    "Environment",
    "Fault",
    "Faults",
    "Plan",
    "Quota",
    "SimulatedToken",
    "Simulator",
    "SteppedClock",
    "Token",
    "UnknownToken",
    "World",
    "generate",
    "make_app",
    "secrets",
    "serve",
]
