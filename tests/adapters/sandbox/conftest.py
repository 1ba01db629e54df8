import pytest

from mge_ray.adapters.sandbox import SandboxLevel
from tests.adapters.sandbox.campaign import Campaigns
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


@pytest.fixture(scope="session")
def campaigns(request):
    """The attacks that are to be tested, by user and level."""
    wanted = {}
    for item in request.session.items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if "attack" in parameters:
            key = parameters.get("user"), parameters.get("level")
            wanted.setdefault(key, []).append(parameters["attack"])
    campaigns = Campaigns(wanted)
    yield campaigns
    campaigns.close()


@pytest.fixture(params=USERS)
def user(request):
    return request.param
