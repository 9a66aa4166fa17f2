"""Pods reach what they need and nothing else, by the addresses that the manifests name, and by TLS where it is on."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from overlays import ALL_BUILT, EVERY_COMPONENT, KUBERNETES, Resource, built, kustomize, named, of_kind, pod, workloads

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here: .ci/deploy-tools"),
]

each_overlay = pytest.mark.parametrize("overlay", ALL_BUILT)


def policies(overlay: str, workload: Resource) -> list[Resource]:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    return [
        policy["spec"]
        for policy in of_kind(built(overlay), "NetworkPolicy")
        if policy["metadata"]["namespace"] == workload["metadata"]["namespace"]
        and policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    ]


def rules(overlay: str, workload: Resource, direction: str) -> Iterator[Resource]:
    for policy in policies(overlay, workload):
        yield from policy.get(direction, [])


def matches(peer: Resource, of: Resource, workload: Resource) -> bool:
    """Whether a rule's peer, in a policy of one workload's namespace, is this workload."""
    wanted = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
    namespace = workload["metadata"]["namespace"]
    if "namespaceSelector" not in peer:
        wanted = of["metadata"]["namespace"]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    selected = peer.get("podSelector", {}).get("matchLabels", {}).items() <= labels.items()
    return "ipBlock" not in peer and wanted in (None, namespace) and selected


def ports_of(workload: Resource) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for c in pod(workload)["containers"] for port in c["ports"]}


def lets_through(overlay: str, direction: str, of: Resource, other: Resource, port: int) -> bool:
    """Whether the policies of one workload allow this port between it and the other one."""
    receiver = of if direction == "ingress" else other
    named_ports = ports_of(receiver)
    return any(
        matches(peer, of, other)
        for rule in rules(overlay, of, direction)
        if port in {named_ports.get(each["port"], each["port"]) for each in rule["ports"]}
        for peer in rule["from" if direction == "ingress" else "to"]
    )


def connections(overlay: str) -> Iterator[tuple[Resource, Resource, int]]:
    """From, to, port of the container: by the addresses in the variables and the prober's target."""
    resources = built(overlay)
    services = {f"{s['metadata']['name']}.{s['metadata']['namespace']}": s for s in of_kind(resources, "Service")}
    addressed = [
        (workload, variable.get("value", ""))
        for workload in workloads(resources)
        for variable in pod(workload)["containers"][0].get("env", [])
    ]
    for probe in of_kind(resources, "Probe"):
        prober = named(resources, "Deployment", "langflow-prober")
        addressed += [(prober, target) for target in probe["spec"]["targets"]["staticConfig"]["static"]]
    for sender, value in addressed:
        for name, port in re.findall(r"([\w-]+\.(?:telemetry|langflow)):(\d+)", value):
            service = services[name]
            labels = service["spec"]["selector"].items()
            (receiver,) = [
                w for w in workloads(resources) if labels <= w["spec"]["template"]["metadata"]["labels"].items()
            ]
            (target,) = [each["targetPort"] for each in service["spec"]["ports"] if each["port"] == int(port)]
            yield sender, receiver, ports_of(receiver)[target]


@each_overlay
def test_each_way_that_an_address_names_is_open_on_both_sides(overlay: str) -> None:
    ways = list(connections(overlay))

    assert len(ways) >= 3
    for sender, receiver, port in ways:
        about = f"{sender['metadata']['name']} to {receiver['metadata']['name']}:{port}"
        assert lets_through(overlay, "egress", sender, receiver, port), about
        assert lets_through(overlay, "ingress", receiver, sender, port), about


@each_overlay
def test_pods_of_the_gateway_are_not_reached_from_langflow(overlay: str) -> None:
    langflow = named(built(overlay), "Deployment", "langflow")
    gateway = named(built(overlay), "StatefulSet", "otel-gateway")

    assert not lets_through(overlay, "egress", langflow, gateway, 4317)
    assert not lets_through(overlay, "ingress", gateway, langflow, 4317)


@each_overlay
def test_each_pod_reaches_the_names_and_nothing_on_any_port(overlay: str) -> None:
    for workload in workloads(built(overlay)):
        outward = list(rules(overlay, workload, "egress"))
        assert all(rule["ports"] and rule["to"] for rule in outward)
        assert any({"port": 53, "protocol": "UDP"} in rule["ports"] for rule in outward), workload["metadata"]["name"]
        assert {"Ingress", "Egress"} in [set(policy["policyTypes"]) for policy in policies(overlay, workload)]


def reaches(overlay: str, address: str, port: int) -> bool:
    """Whether LangFlow may open a connection to an address that is not a pod's."""
    langflow = named(built(overlay), "Deployment", "langflow")
    ip = ipaddress.ip_address(address)
    return any(
        ip in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        and not any(ip in ipaddress.ip_network(excepted) for excepted in peer["ipBlock"].get("except", []))
        for rule in rules(overlay, langflow, "egress")
        if port in {each["port"] for each in rule["ports"]}
        for peer in rule["to"]
        if "ipBlock" in peer
    )


@pytest.mark.parametrize(
    ("address", "port", "open_"),
    [
        pytest.param("93.184.216.34", 443, True, id="a provider of models"),
        pytest.param("2606:2800:220:1::1", 443, True, id="a provider of models, IPv6"),
        pytest.param("93.184.216.34", 80, False, id="anything without TLS"),
        pytest.param("93.184.216.34", 25, False, id="mail"),
        pytest.param("10.96.0.1", 443, False, id="the cluster's API server"),
        pytest.param("169.254.169.254", 80, False, id="the cloud's metadata service"),
        pytest.param("169.254.169.254", 443, False, id="the same, by TLS"),
        pytest.param("fd00:ec2::254", 443, False, id="the same, IPv6"),
        pytest.param("10.1.2.3", 5432, True, id="PostgreSQL in the private network"),
        pytest.param("172.20.2.3", 6379, True, id="Redis in the private network"),
        pytest.param("93.184.216.34", 5432, False, id="PostgreSQL in the Internet"),
    ],
)
def test_langflow_reaches_what_it_needs(address: str, port: int, open_: bool) -> None:
    assert reaches("production", address, port) is open_


def test_the_ports_of_database_and_cache_are_those_of_the_example() -> None:
    example = (KUBERNETES / "langflow.env.example").read_text()
    ports = {int(port) for port in re.findall(r"@HOST:(\d+)/", example)}

    assert ports == {5432, 6379}
    assert all(reaches("production", "10.0.0.9", port) for port in ports)


def test_the_ingress_waits_for_runs_and_takes_large_files() -> None:
    resources = built(EVERY_COMPONENT)
    (ingress,) = of_kind(resources, "Ingress")
    options = {
        name.rpartition("/")[2]: value
        for name, value in ingress["metadata"]["annotations"].items()
        if name.startswith("nginx.ingress.kubernetes.io/")
    }
    (rule,) = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = named(resources, "Service", backend["name"])

    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    assert min(int(options["proxy-read-timeout"]), int(options["proxy-send-timeout"])) >= 600
    assert options["proxy-buffering"] == options["proxy-request-buffering"] == "off"
    assert int(options["proxy-body-size"].removesuffix("m")) >= 1024
    assert options["affinity"] == "cookie"


def test_the_gateways_route_waits_for_runs_and_is_let_in() -> None:
    resources = built(EVERY_COMPONENT)
    (route,) = of_kind(resources, "HTTPRoute")
    (rule,) = route["spec"]["rules"]
    (backend,) = rule["backendRefs"]
    service = named(resources, backend.get("kind", "Service"), backend["name"])
    (parent,) = route["spec"]["parentRefs"]
    (opened,) = named(resources, "NetworkPolicy", "langflow-gateway")["spec"]["ingress"]

    assert backend["port"] in {port["port"] for port in service["spec"]["ports"]}
    assert route["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert rule["timeouts"] == {"request": "1h", "backendRequest": "1h"}
    (sender,) = opened["from"]
    assert sender["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": parent["namespace"]}
    assert opened["ports"] == [{"port": service["spec"]["ports"][0]["targetPort"]}]


def certificates() -> dict[tuple[str, str], Resource]:
    """By namespace and the secret that cert-manager writes."""
    made = of_kind(built(EVERY_COMPONENT), "Certificate")
    return {(each["metadata"]["namespace"], each["spec"]["secretName"]): each["spec"] for each in made}


def secrets_by_folder(workload: Resource) -> dict[str, str]:
    (container,) = pod(workload)["containers"]
    secrets = {
        volume["name"]: volume["secret"]["secretName"] for volume in pod(workload)["volumes"] if "secret" in volume
    }
    return {
        mount["mountPath"]: secrets[mount["name"]] for mount in container["volumeMounts"] if mount["name"] in secrets
    }


def test_files_of_tls_are_those_of_mounted_certificates() -> None:
    checked = 0
    for workload in workloads(built(EVERY_COMPONENT)):
        folders = secrets_by_folder(workload)
        for variable in pod(workload)["containers"][0].get("env", []):
            path = Path(variable.get("value", ""))
            if path.suffix in (".crt", ".key"):
                secret = folders[str(path.parent)]
                assert (workload["metadata"]["namespace"], secret) in certificates()
                assert path.name in ("ca.crt", "tls.crt", "tls.key")
                checked += 1
            if variable["name"] == "COLLECTOR_CERT_FILE":
                usages = certificates()["telemetry", folders[str(path.parent)]]["usages"]
                assert set(usages) == {"server auth", "client auth"}
    # Three files of each of the three that send, and of each of the three that receive.
    assert checked == 18


def test_certificates_are_for_the_names_that_senders_use() -> None:
    resources = built(EVERY_COMPONENT)
    names = [
        name for (namespace, _), spec in certificates().items() if namespace == "telemetry" for name in spec["dnsNames"]
    ]
    langflow = {
        v["name"]: v.get("value", "") for v in pod(named(resources, "Deployment", "langflow"))["containers"][0]["env"]
    }
    agent = {
        v["name"]: v.get("value", "") for v in pod(named(resources, "DaemonSet", "otel-agent"))["containers"][0]["env"]
    }
    balancer = pod(named(resources, "Deployment", "otel-loadbalancer"))["containers"][0]["env"]
    gateways = next(v["value"] for v in balancer if v["name"] == "GATEWAYS")
    endpoint = urlsplit(langflow["OTEL_EXPORTER_OTLP_ENDPOINT"])

    assert endpoint.scheme == "https"
    assert agent["GATEWAY_INSECURE"] == "false"
    used = [endpoint.hostname or "", agent["GATEWAY_ENDPOINT"].partition(":")[0]]
    used += re.findall(r"([\w.-]+):\d+", gateways)
    assert len(used) == 4
    for name in used:
        assert any(fnmatchcase(name, each) for each in names), name
