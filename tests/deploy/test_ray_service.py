"""The manifest for Ray's own operator, held against our own files and Kubernetes' schemas: there is no cluster here."""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from tests.deploy.test_deploy import linter, run

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCUMENTS = {page["kind"]: page for page in yaml.safe_load_all((DEPLOY / "kubernetes/cluster.yaml").read_text())}
COMPOSED = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
SPEC = DOCUMENTS["RayService"]["spec"]
CLUSTER = SPEC["rayClusterConfig"]
GROUPS = {"head": CLUSTER["headGroupSpec"], **{group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}}


def engine(group):
    (container,) = GROUPS[group]["template"]["spec"]["containers"]
    return container


def test_the_cluster_is_of_the_locked_ray_asks_for_a_token_and_is_never_there_twice():
    assert CLUSTER["rayVersion"] == version("ray")
    assert CLUSTER["authOptions"] == {"mode": "token"}
    assert SPEC["upgradeStrategy"] == {"type": "None"}


def test_serve_runs_the_application_where_the_service_looks_for_it():
    serve = yaml.safe_load(SPEC["serveConfigV2"])
    (application,) = serve["applications"]
    module, _, name = application["import_path"].partition(":")
    source = importlib.util.find_spec(module).origin
    assert f"\n{name} = " in Path(source).read_text()
    assert {"name": "serve", "containerPort": serve["http_options"]["port"]} in engine("head")["ports"]
    assert serve["proxy_location"] == "HeadOnly"


def test_every_pod_is_the_composed_image_with_one_environment_and_one_run_directory():
    image = COMPOSED["engine"]["image"]
    folder = next(
        line.partition("FACTOR_ENGINE_RUN_DIR=")[2].split()[0]
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if "FACTOR_ENGINE_RUN_DIR=" in line
    )
    claim = DOCUMENTS["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in GROUPS:
        assert engine(group)["image"] == image
        assert engine(group)["env"] == engine("head")["env"]
        (mounted,) = [mount["name"] for mount in engine(group)["volumeMounts"] if mount["mountPath"] == folder]
        (volume,) = [v for v in GROUPS[group]["template"]["spec"]["volumes"] if v["name"] == mounted]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_every_pod_has_its_kernels_where_numba_can_write_before_ray_starts():
    for group in GROUPS:
        (first,) = GROUPS[group]["template"]["spec"]["initContainers"]
        assert first["image"] == engine(group)["image"]
        assert first["command"][1:] == ["-m", "factors.warm"]
        for container in (first, engine(group)):
            (folder,) = [row["value"] for row in container["env"] if row["name"] == "NUMBA_CACHE_DIR"]
            (mounted,) = [m["name"] for m in container["volumeMounts"] if Path(folder).is_relative_to(m["mountPath"])]
            (volume,) = [v for v in GROUPS[group]["template"]["spec"]["volumes"] if v["name"] == mounted]
            assert "emptyDir" in volume


def test_what_pods_are_made_of_is_said_how_to_make_on_the_page():
    page = (DEPLOY.parent / "docs/deployment.md").read_text()
    nats = DOCUMENTS["StatefulSet"]["spec"]["template"]["spec"]
    named = {volume["secret"]["secretName"] for volume in nats["volumes"] if "secret" in volume}
    named |= {volume["configMap"]["name"] for volume in nats["volumes"] if "configMap" in volume}
    named |= {source["secretRef"]["name"] for source in nats["containers"][0]["envFrom"]}
    assert named
    for name in named:
        assert f" {name} " in page, name
    assert nats["containers"][0]["image"] == COMPOSED["nats"]["image"]


@pytest.mark.parametrize("group", GROUPS)
def test_kubernetes_takes_the_pods(group, tmp_path):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": group}, "spec": GROUPS[group]["template"]["spec"]}
    path = tmp_path / "pod.yaml"
    path.write_text(json.dumps(pod))
    run(linter("kubernetes-validate"), "--strict", str(path))
