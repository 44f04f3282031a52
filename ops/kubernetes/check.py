"""Checks the manifests in a folder, and writes its ScaledObjects as JSON: `check.py FOLDER FILE`.

Beyond the schemas it compares what must agree between files: the targets of autoscalers, budgets and services, probes and
ports, the times of a stop with the settings, and the bounds of scaling. Prints each fault; exit status 1 where there is one.
"""

import json
import pathlib
import re
import sys

import kubernetes_validate
import yaml

# Defaults of the settings that a stop takes, in seconds, and the time after a drain until the process has ended.
DEFAULTS = {"workers": {"drain": 20}, "server": {"readiness_lead": 5, "drain": 10}}
AFTER_DRAIN = 15

faults = []


def seconds(settings, section, name):
    text = settings.get(f"ORDERWORKS_{section}_{name}_SECONDS".upper())
    return int(text) if text else DEFAULTS[section][name]


def numbers(text):
    """Numbers by queue of an inline TOML table."""
    return {queue: int(number) for queue, number in re.findall(r"(\w+) *= *(\d+)", text or "")}


def check_schema(name, document):
    try:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        faults.append(f"{name}: {document['kind']} {document['metadata']['name']}: {error.message}")


def check_deployment(document, settings):
    name, pod = document["metadata"]["name"], document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    role = container["args"][0]
    # Relay and scheduler end within a second or two.
    needed = seconds(settings, "workers", "drain") if role == "worker" else 0
    if role in ("api", "console"):
        needed = seconds(settings, "server", "drain")
    if role == "api":
        needed += seconds(settings, "server", "readiness_lead")
    if pod["terminationGracePeriodSeconds"] < needed + AFTER_DRAIN:
        faults.append(f"{name}: terminationGracePeriodSeconds is less than {needed + AFTER_DRAIN}")
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if container[probe]["httpGet"]["port"] not in ports:
            faults.append(f"{name}: {probe} asks at no port")
    if document["spec"]["selector"]["matchLabels"].items() - document["spec"]["template"]["metadata"]["labels"].items():
        faults.append(f"{name}: selects none of its own pods")


def check_environment(document, sources):
    name, pod = document["metadata"]["name"], document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    named = {(kind, source["name"]) for entry in container["envFrom"] for kind, source in entry.items()}
    for kind, source in sorted(named - sources):
        faults.append(f"{name}: {kind} {source} is not here")
    if pod.get("enableServiceLinks") is not False:
        faults.append(f"{name}: gets variables of services, which the program refuses as unknown settings")


def check_ports(service, app):
    (container,) = app["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    for port in service["spec"]["ports"]:
        if port["targetPort"] not in ports:
            faults.append(f"Service {service['metadata']['name']}: leads to no port")


def check_scaler(document, settings, least, most, queue):
    name = document["metadata"]["name"]
    for setting, here in (("MIN", least), ("MAX", most)):
        there = numbers(settings.get(f"ORDERWORKS_SCALING_{setting}")).get(queue, here)
        if there != here:
            faults.append(f"{name}: {here} is not scaling.{setting.lower()} of {queue}, {there}")


def check_agreement(documents):
    of = lambda kind: [document for _, document in documents if document["kind"] == kind]
    settings = of("ConfigMap")[0]["data"]
    apps = {app["metadata"]["name"]: app for app in of("Deployment")}
    services = {service["metadata"]["name"] for service in of("Service")}
    sources = {("configMapRef", document["metadata"]["name"]) for document in of("ConfigMap")}
    sources |= {("secretRef", document["metadata"]["name"]) for document in of("Secret")}
    for app in apps.values():
        check_deployment(app, settings)
    for document in of("Deployment") + of("Job"):
        check_environment(document, sources)
    for kind in ("Service", "PodDisruptionBudget"):
        for document in of(kind):
            selector = document["spec"]["selector"]
            if selector.get("matchLabels", selector)["app"] not in apps:
                faults.append(f"{kind} {document['metadata']['name']}: selects nothing")
            elif kind == "Service":
                check_ports(document, apps[selector["app"]])
    for kind in ("ScaledObject", "HorizontalPodAutoscaler"):
        scaled = {document["spec"]["scaleTargetRef"]["name"] for document in of(kind)}
        if scaled != {name for name, app in apps.items() if "replicas" not in app["spec"]}:
            faults.append(f"{kind}s do not scale exactly the Deployments without a number of replicas")
    for document in of("ScaledObject"):
        spec = document["spec"]
        trigger = spec["triggers"][0]["metadata"]
        queue = trigger["valueLocation"].split(".")[0]
        args = apps[spec["scaleTargetRef"]["name"]]["spec"]["template"]["spec"]["containers"][0]["args"]
        if f"{queue}=" not in args[2]:
            faults.append(f"{document['metadata']['name']}: {args[2]} is not {queue}")
        if re.match(r"http://([a-z-]+):", trigger["url"])[1] not in services:
            faults.append(f"{document['metadata']['name']}: {trigger['url']} is no service here")
        check_scaler(document, settings, spec["minReplicaCount"], spec["maxReplicaCount"], queue)
    for document in of("HorizontalPodAutoscaler"):
        spec = document["spec"]
        queue = spec["metrics"][0]["external"]["metric"]["selector"]["matchLabels"]["queue"]
        check_scaler(document, settings, spec["minReplicas"], spec["maxReplicas"], queue)


def main(folder, scaled_objects):
    documents = []
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        documents += [(path.name, document) for document in yaml.safe_load_all(path.read_text()) if document]
    for name, document in documents:
        if document["kind"] != "ScaledObject":
            check_schema(name, document)
    check_agreement(documents)
    objects = [document for _, document in documents if document["kind"] == "ScaledObject"]
    pathlib.Path(scaled_objects).write_text(json.dumps(objects))
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"{len(documents)} manifests agree, {len(documents) - len(objects)} of them valid for Kubernetes")


if __name__ == "__main__":
    main(*sys.argv[1:])
