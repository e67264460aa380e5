"""Every overlay renders to manifests that Kubernetes takes, under the strictest pod security, for this very product."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from stream.config import Config
from tests.deploy.manifests import DEPLOY, command, documents, settings
from tests.deploy.programs import program

OVERLAYS: Final = ("small", "large", "single-node")
KUBERNETES: Final = "1.32"
KEDA: Final = json.loads((Path(__file__).parent / "keda.json").read_text())  # of its CRDs what a Kafka trigger needs
GIB: Final = {"Mi": 1 / 1024, "Gi": 1.0}
ENTITY_BYTES: Final = 463  # README, Measured
PROCESS_GIB: Final = 0.5

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports what its own dependencies have deprecated
    import kubernetes_validate  # type: ignore[import-untyped]  # it has no types


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [program("kubectl"), "kustomize", DEPLOY / "kustomize/overlays" / overlay],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def of_kind(overlay: str, kind: str) -> list[dict[str, Any]]:
    return [document for document in rendered(overlay) if document["kind"] == kind]


def pods(overlay: str) -> Iterator[dict[str, Any]]:
    for kind in ("StatefulSet", "Deployment"):
        for document in of_kind(overlay, kind):
            yield document["spec"]["template"]["spec"] | {"owner": document}


def containers(overlay: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for pod in pods(overlay):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield pod, container


def config(overlay: str, folder: Path) -> Config:
    (found,) = of_kind(overlay, "ConfigMap")
    path = folder / "tripline.toml"
    path.write_text(found["data"]["tripline.toml"])
    return settings(path)


def gib(quantity: str) -> float:
    return float(quantity[:-2]) * GIB[quantity[-2:]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_of_its_schema(overlay: str) -> None:
    """Of Kubernetes strictly, of KEDA by what its custom resources say."""
    for document in rendered(overlay):
        if document["kind"] in KEDA:
            jsonschema.validate(document, KEDA[document["kind"]])
        else:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    kinds = {document["kind"] for document in rendered(overlay)}
    assert {"StatefulSet", "Deployment", "NetworkPolicy", "ConfigMap", "Namespace"} <= kinds
    assert ("PodDisruptionBudget" in kinds) == (overlay != "single-node")


def test_a_field_that_there_is_not_would_be_seen() -> None:
    (worker,) = of_kind("small", "StatefulSet")
    wrong = worker | {"spec": worker["spec"] | {"replica": 2}}
    with pytest.raises(kubernetes_validate.utils.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_as_restricted_as_they_can_be(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod, container in containers(overlay):
        security = pod["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
        }  # fmt: skip
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        assert not [e for e in container.get("env", ()) if "secretKeyRef" in e.get("valueFrom", {})], (
            "secrets are files"
        )
        for volume in pod["volumes"]:
            assert volume.get("secret", {"defaultMode": 0o440})["defaultMode"] == 0o440


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_a_container_is_given_is_what_the_product_takes(overlay: str, tmp_path: Path) -> None:
    """Commands, settings, mounts, ports, probes, and a member's name that outlives its pod."""
    given = config(overlay, tmp_path)
    (claimed,) = of_kind(overlay, "StatefulSet")[0]["spec"]["volumeClaimTemplates"]
    for pod, container in containers(overlay):
        arguments = command(container["args"])
        volumes = {volume["name"] for volume in pod["volumes"]} | {claimed["metadata"]["name"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) <= volumes
        assert str(arguments.config) in mounts
        for path in (given.kafka.sasl_password_file, given.kafka.ssl_ca_file, given.worker.state):
            assert any(path.startswith(mount) for mount in mounts), path
        if arguments.command == "topics":
            continue
        port = (given.respond if arguments.command == "respond" else given.worker).metrics_port
        assert {named["containerPort"] for named in container["ports"]} == {port}
        annotations = pod["owner"]["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == str(port)
        paths = {container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
        assert paths == {"/livez", "/readyz"}
        if arguments.command == "worker":
            (name,) = container["env"]
            assert name["name"] == "TRIPLINE_KAFKA__INSTANCE_ID"
            assert name["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert given.kafka.security_protocol == "SASL_SSL"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_memory_suffices_for_the_entities_when_half_of_the_workers_are_gone(overlay: str, tmp_path: Path) -> None:
    """By the measured bytes an entity; the one worker of a single node has them all anyway."""
    given = config(overlay, tmp_path)
    (worker,) = of_kind(overlay, "StatefulSet")
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    limits = given.entities_max
    entities = sum(getattr(limits, kind) for kind in limits.__struct_fields__)
    left = max(worker["spec"]["replicas"] // 2, 1)
    partitions = -(-given.kafka.partitions // left)
    assert PROCESS_GIB + partitions * entities * ENTITY_BYTES / 2**30 <= gib(container["resources"]["limits"]["memory"])
    assert worker["spec"]["replicas"] <= given.kafka.partitions


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_network_lets_through_what_the_settings_need(overlay: str, tmp_path: Path) -> None:
    given = config(overlay, tmp_path)
    (policy,) = of_kind(overlay, "NetworkPolicy")
    assert policy["spec"]["podSelector"] == {}
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule.get("from") for rule in policy["spec"]["ingress"])
    allowed = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"] if rule.get("to")}
    ports = {int(server.rpartition(":")[2]) for server in given.kafka.bootstrap_servers.split(",")}
    assert allowed == ports | {53}


def test_workers_are_scaled_within_what_there_is_to_share(tmp_path: Path) -> None:
    """As many as partitions at most, one at a time, on the lag of the groups that there are."""
    given = config("large", tmp_path)
    (scaled,) = of_kind("large", "ScaledObject")
    (worker,) = of_kind("large", "StatefulSet")
    spec = scaled["spec"]
    assert spec["scaleTargetRef"]["name"] == worker["metadata"]["name"]
    assert spec["minReplicaCount"] == worker["spec"]["replicas"] == spec["fallback"]["replicas"]
    assert spec["maxReplicaCount"] == given.kafka.partitions
    watched = {(t["metadata"]["consumerGroup"], t["metadata"]["topic"]) for t in spec["triggers"]}
    group = given.kafka.group
    assert watched == {(f"{group}-ingest", given.kafka.topics[0]), (f"{group}-detect", given.kafka.observations)}
    for trigger in spec["triggers"]:
        assert trigger["metadata"]["bootstrapServers"] == given.kafka.bootstrap_servers
        (known,) = of_kind("large", "TriggerAuthentication")
        assert trigger["authenticationRef"]["name"] == known["metadata"]["name"]
    for rules in spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"].values():
        assert [policy["value"] for policy in rules["policies"]] == [1]
