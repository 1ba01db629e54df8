"""What is under `deploy/`, and `cluster.yaml`: read as their readers read them, keys included."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

ROOT = Path(__file__).parents[2]
KUBERAY = sorted((ROOT / "deploy/kuberay").glob("*.yaml"))

# The fields of KubeRay 1.7's resources that are used here or might be; a misspelt one is dropped without a word there.
CLUSTER_FIELDS = {
    *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec"),
    *("headServiceAnnotations", "historyServerOptions", "managedBy", "networkPolicy", "rayVersion", "suspend"),
    *("tlsOptions", "upgradeStrategy", "workerGroupSpecs"),
}
HEAD_FIELDS = {"serviceType", "headService", "enableIngress", "rayStartParams", "template"}
WORKER_FIELDS = {
    *("groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template"),
    "scaleStrategy",
}
JOB_FIELDS = {
    *("activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata", "entrypoint"),
    *("clusterSelector", "submitterConfig", "managedBy", "deletionStrategy", "runtimeEnvYAML", "jobId"),
    *("submissionMode", "entrypointResources", "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished"),
    *("shutdownAfterJobFinishes", "suspend"),
}
SERVICE_FIELDS = {"serveConfigV2", "rayClusterConfig", "serveService", "upgradeStrategy"}
AUTH_FIELDS = {"mode", "secretName", "enableK8sTokenAuth"}


def documents():
    return [
        pytest.param(document, id=f"{path.stem}-{document['kind']}-{document['metadata']['name']}")
        for path in KUBERAY
        for document in yaml.safe_load_all(path.read_text())
    ]


def of_kind(*kinds):
    return [param for param in documents() if param.values[0]["kind"] in kinds]


def cluster_of(document):
    spec = document["spec"]
    return spec["rayClusterSpec" if document["kind"] == "RayJob" else "rayClusterConfig"]


def pods_of(document):
    """Return the pod templates of a resource."""
    if document["kind"] == "StatefulSet":
        return [document["spec"]["template"]]
    cluster = cluster_of(document)
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


@pytest.fixture
def cluster_yaml():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def commands(config, kind):
    return " ".join(config[f"{kind}_start_ray_commands"])


def test_ray_takes_cluster_yaml(cluster_yaml):
    validate_config(prepare_config(deepcopy(cluster_yaml)))


def test_ray_does_not_take_a_cluster_with_a_word_it_does_not_know(cluster_yaml):
    config = prepare_config(deepcopy(cluster_yaml)) | {"target_utilization_fraction": 0.8}
    with pytest.raises(Exception, match="target_utilization_fraction"):
        validate_config(config)


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_every_node_of_cluster_yaml_wants_the_token_and_finds_the_program(cluster_yaml, kind):
    said = commands(cluster_yaml, kind)
    assert "RAY_AUTH_MODE=token" in said
    assert "RAY_AUTH_TOKEN_PATH=" in said
    assert "PATH=~/mge-ray/bin:$PATH" in said


def test_the_dashboard_of_cluster_yaml_is_on_loopback(cluster_yaml):
    assert "--dashboard-host=127.0.0.1" in commands(cluster_yaml, "head")
    assert "0.0.0.0" not in (ROOT / "cluster.yaml").read_text()  # noqa: S104  # looked for, not bound


def test_no_branch_and_no_secret_is_in_cluster_yaml():
    text = (ROOT / "cluster.yaml").read_text()
    assert "nightly" not in text
    assert not re.search(r"sk-ant-\w", text)
    assert re.search(r"git\+https://\S+@COMMIT", text)


def test_the_serve_configuration_is_one_that_serve_takes():
    config = ServeDeploySchema.model_validate(yaml.safe_load((ROOT / "deploy/serve-config.yaml").read_text()))
    (application,) = config.applications
    assert (application.import_path, config.http_options.host) == ("serve_app:app", "127.0.0.1")


@pytest.mark.parametrize("service", of_kind("RayService"))
def test_the_ray_service_serves_the_same_application(service):
    inside = yaml.safe_load(service["spec"]["serveConfigV2"])
    ServeDeploySchema.model_validate(inside)
    beside = yaml.safe_load((ROOT / "deploy/serve-config.yaml").read_text())
    assert inside["applications"] == beside["applications"]
    assert service["spec"].keys() <= SERVICE_FIELDS


@pytest.mark.parametrize("job", of_kind("RayJob"))
def test_the_ray_job_has_fields_that_kuberay_knows(job):
    assert job["spec"].keys() <= JOB_FIELDS
    assert job["spec"]["backoffLimit"] == 0


@pytest.mark.parametrize("document", of_kind("RayJob", "RayService"))
def test_clusters_on_kubernetes_have_fields_that_kuberay_knows_and_want_a_token(document):
    assert document["apiVersion"] == "ray.io/v1"
    cluster = cluster_of(document)
    assert cluster.keys() <= CLUSTER_FIELDS
    assert cluster["headGroupSpec"].keys() <= HEAD_FIELDS
    assert all(group.keys() <= WORKER_FIELDS for group in cluster["workerGroupSpecs"])
    assert cluster["authOptions"].keys() <= AUTH_FIELDS
    assert cluster["authOptions"]["mode"] == "token"


@pytest.mark.parametrize("document", of_kind("RayJob", "RayService", "StatefulSet"))
def test_no_pod_is_root_or_may_become_it(document):
    for pod in pods_of(document):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"]
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in pod["spec"]["containers"]:
            rights = container["securityContext"]
            assert (rights["allowPrivilegeEscalation"], rights["capabilities"]["drop"]) == (False, ["ALL"])
            assert container["resources"]["limits"]["memory"]


def test_every_secret_and_volume_that_is_named_exists_or_is_made():
    files = [document.values[0] for document in documents()]
    made = {one["metadata"]["name"] for one in files if one["kind"] == "Secret"}
    text = "".join(path.read_text() for path in KUBERAY)
    named = set(re.findall(r"secret(?:Key)?Ref: {name: ([\w-]+)", text)) | set(re.findall(r"secretName: (\S+)", text))
    assert named == made


@pytest.mark.parametrize("document", of_kind("Secret"))
def test_secrets_hold_nothing(document):
    assert all("REPLACE" in value for value in document["stringData"].values())


@pytest.mark.parametrize("policy", of_kind("NetworkPolicy"))
def test_network_policies_choose_pods_that_exist(policy):
    chosen = policy["spec"]["podSelector"]["matchLabels"].items()
    pods = [
        pod
        for param in of_kind("RayJob", "RayService", "StatefulSet")
        for pod in pods_of(param.values[0])
        if chosen <= pod["metadata"]["labels"].items()
    ]
    assert pods
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}


def test_the_image_runs_as_a_user_and_installs_locked_versions():
    lines = (ROOT / "deploy/docker/Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 1000:1000"]
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied if name != "serve_app.py")
    assert any("--require-hashes" in line for line in lines)
