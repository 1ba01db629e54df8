import pytest

from mge_ray.adapters.sandbox import SandboxLevel
from tests.adapters.sandbox.hosts import Host, needs
from tests.adapters.sandbox.world import IS_ROOT, World

USERS = ("root", "ordinary") if IS_ROOT else ("ordinary",)


@pytest.fixture(scope="session")
def world():
    world = World()
    yield world
    world.close()


@pytest.fixture(scope="session")
def hosts(world):
    """Hosts by user and level, each started once."""
    running = {}

    def get(user, level=SandboxLevel.FULL):
        needs(level)
        if (user, level) not in running:
            running[user, level] = Host(user, level, world.secret)
        return running[user, level]

    yield get
    for host in running.values():
        host.close()


@pytest.fixture(params=USERS)
def user(request):
    return request.param
