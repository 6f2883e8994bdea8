"""The image, the compose file and the manifests for Kubernetes agree with the collector, each other and the page."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dnsvigil import __version__
from dnsvigil.config.collector import Config, Sources, ZeekSource
from dnsvigil.config.yaml_file import load
from dnsvigil.exporter.pages import OPEN_PATHS

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "packaging/container"
PAGE = (ROOT / "docs/containers.md").read_text()
IMAGE = (CONTAINER / "image").read_text()
COMPOSE = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
BASE = yaml.safe_load((CONTAINER / "kustomization.yaml").read_text())
RESOURCES: dict[str, Any] = {
    resource["kind"]: resource
    for file in (CONTAINER / "kubernetes").iterdir()
    for resource in yaml.safe_load_all(file.read_text())
}
POD = RESOURCES["StatefulSet"]["spec"]["template"]["spec"]
(COLLECTOR,) = POD["containers"]
PORT = Config().listen.rpartition(":")[2]


def test_the_configuration_listens_where_the_network_of_the_container_reaches_it() -> None:
    zeek = ZeekSource(Path("/opt/zeek/logs/current"), sensor="zeek")
    expected = Config(listen=f"0.0.0.0:{PORT}", sources=Sources(zeek=[zeek]))
    assert load(CONTAINER / "dnsvigil/dnsvigil.yml", Config) == expected


def test_all_have_the_collectors_port() -> None:
    assert f"--config.exposedports {PORT}/tcp" in IMAGE
    assert COMPOSE["services"]["dnsvigil"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert f"http://127.0.0.1:{PORT}/-/healthy" in COMPOSE["services"]["dnsvigil"]["healthcheck"]["test"][-1]
    (port,) = COLLECTOR["ports"]
    (served,) = RESOURCES["Service"]["spec"]["ports"]
    (allowed,) = RESOURCES["NetworkPolicy"]["spec"]["ingress"]
    (scraped,) = RESOURCES["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert (port["containerPort"], served["port"]) == (int(PORT), int(PORT))
    named = {served["targetPort"], *(each["port"] for each in allowed["ports"]), scraped["port"]}
    assert named == {port["name"]}


def test_the_probes_are_pages_of_the_collector() -> None:
    probes = {name: COLLECTOR[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    assert {probe["path"] for probe in probes.values()} == {"/-/healthy", "/-/ready"} & set(OPEN_PATHS)
    assert {probe["port"] for probe in probes.values()} == {"metrics"}


def test_the_pod_keeps_to_the_restricted_standard() -> None:
    security, own = POD["securityContext"], COLLECTOR["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    writable = {each["name"] for each in COLLECTOR["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"state", "tmp"}
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim"}
    assert {kind for volume in POD["volumes"] for kind in volume if kind != "name"} <= allowed
    assert RESOURCES["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_each_container_of_compose_has_no_more_than_it_needs() -> None:
    for service in COMPOSE["services"].values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert all(volume.get("read_only") for volume in service["volumes"] if volume["type"] == "bind")


def test_the_user_of_the_pod_is_that_of_the_image() -> None:
    (user,) = re.findall(r"^echo 'u dnsvigil (\d+) ", IMAGE, re.MULTILINE)
    assert f"--config.user {user}:{user} " in IMAGE
    assert f"`dnsvigil`, {user}:{user}" in PAGE
    assert {POD["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {int(user)}


def test_the_image_has_this_version_and_no_registry() -> None:
    assert COMPOSE["services"]["dnsvigil"]["image"] == f"dnsvigil:{__version__}"
    assert BASE["images"] == [{"name": "dnsvigil", "newTag": __version__}]
    assert COLLECTOR["image"] == "dnsvigil"
    assert f"oci:build/image:{__version__}" in PAGE


def test_the_volume_lies_where_each_mounts_it() -> None:
    assert "--config.volume /var/lib/dnsvigil " in IMAGE
    (state,) = [each for each in COMPOSE["services"]["dnsvigil"]["volumes"] if each["type"] == "volume"]
    assert state["target"] == "/var/lib/dnsvigil"
    mounted = {each["name"]: each["mountPath"] for each in COLLECTOR["volumeMounts"]}
    assert mounted["state"] == "/var/lib/dnsvigil"
    (claim,) = RESOURCES["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert mounted.keys() == {claim["metadata"]["name"], *(each["name"] for each in POD["volumes"])}
    option, folder, _ = COLLECTOR["args"]
    assert f"dnsvigil {option} {folder} findings" in PAGE


def test_the_files_that_manifests_name_are_there() -> None:
    named = [*BASE["resources"], *(file for each in BASE["configMapGenerator"] for file in each["files"])]
    for service in COMPOSE["services"].values():
        named += [each["source"] for each in service["volumes"] if each["source"].startswith(".")]
    assert [name for name in named if not (CONTAINER / name).exists()] == []


def test_prometheus_has_the_job_and_the_rules_of_the_collector() -> None:
    config = yaml.safe_load((CONTAINER / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job == {"job_name": "dnsvigil", "static_configs": [{"targets": [f"dnsvigil:{PORT}"]}]}
    rules = ROOT / "rules/prometheus"
    loaded = {file.name for each in config["rule_files"] for file in rules.glob(Path(each).name)}
    assert loaded == {file.name for file in rules.glob("dnsvigil-*.yml") if "resolver" not in file.name}
    monitor = RESOURCES["PodMonitor"]
    (labels,) = BASE["labels"]
    assert labels["pairs"] == {monitor["spec"]["jobLabel"]: "dnsvigil"} == monitor["spec"]["selector"]["matchLabels"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    shutil.copy(CONTAINER / "prometheus.yml", tmp_path)
    (tmp_path / "rules").symlink_to(ROOT / "rules/prometheus")
    checked = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("SUCCESS") > 3


def test_the_pages_patches_fit_the_manifests() -> None:
    (example,) = re.findall(r"```yaml\n(apiVersion: kustomize.*?)```", PAGE, re.DOTALL)
    patches = yaml.safe_load(example)["patches"]
    assert {patch["target"]["kind"] for patch in patches} == {"PersistentVolume", "StatefulSet"}
    for patch in patches:
        resource = RESOURCES[patch["target"]["kind"]]
        assert patch["target"]["name"] == resource["metadata"]["name"]
        for change in yaml.safe_load(patch["patch"]):
            for step in change["path"].split("/")[1:]:
                resource = resource[int(step) if isinstance(resource, list) else step]
            assert isinstance(resource, list)
            assert isinstance(change["value"], list)


def test_the_page_makes_resources_of_the_rules() -> None:
    (script,) = re.findall(r"^    (for rules in .*?done) \| kubectl", PAGE, re.MULTILINE | re.DOTALL)
    made = subprocess.run(["sh", "-euc", script], cwd=ROOT, capture_output=True, text=True, check=True)
    resources = [resource for resource in yaml.safe_load_all(made.stdout) if resource]
    files = {resource["metadata"]["name"]: resource["spec"] for resource in resources}
    assert files == {
        file.stem: yaml.safe_load(file.read_text()) for file in ROOT.glob("rules/prometheus/dnsvigil-*.yml")
    }


@pytest.mark.skipif(not shutil.which("dpkg"), reason="needs Debian's dpkg")
@pytest.mark.parametrize(
    ("arguments", "message"), [([], "no package dnsvigil:"), (["sid"], "no package dnsvigil for sid:")]
)
def test_without_packages_no_image_is_made(tmp_path: Path, arguments: list[str], message: str) -> None:
    folder = tmp_path / "packaging/container"
    folder.mkdir(parents=True)
    shutil.copy(CONTAINER / "image", folder)
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [folder / "image", *arguments], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "make deb repo" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["packaging"]
