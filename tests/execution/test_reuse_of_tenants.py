from mge_ray.api.schemas import StartSettings
from mge_ray.wiring.build import reuse_settings
from mge_ray.wiring.service import ServiceConfig, execution_settings
from mge_ray.wiring.settings import EngineConfig

ENGINE = EngineConfig(engine_id="service", db_url="sqlite:////tmp/unused.db", simulated=True)


def test_code_is_taken_over_from_the_same_tenant_alone():
    nobodys, acmes, others = (reuse_settings(ENGINE, tenant=tenant) for tenant in ("", "acme", "other"))
    assert len({nobodys, acmes, others}) == 3
    assert acmes == reuse_settings(ENGINE, tenant="acme")


def test_what_a_client_chooses_becomes_settings_of_its_tenant():
    config = ServiceConfig(engine=ENGINE, escalation_model="")
    settings = execution_settings(config, StartSettings(budget_usd=3, priority=7, reuse=False), "acme")
    assert (settings.tenant, settings.budget_usd, settings.priority, settings.reuse) == ("acme", 3, 7, None)
    assert settings.policy.escalation_model is None
    assert execution_settings(config, StartSettings(), "acme").reuse == reuse_settings(ENGINE, tenant="acme")
