"""The files beside the image: what they mount and name is there, and the collector takes its configuration."""

from pathlib import Path

import yaml

from dnsvigil.cli.main import main

FOLDER = Path(__file__).parents[2] / "packaging" / "container"


def test_compose_mounts_what_is_there():
    services = yaml.safe_load((FOLDER / "compose.yml").read_text())["services"]
    mounted = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    for path in (each for each in mounted if each.startswith(".")):
        assert (FOLDER / path).exists(), path


def test_the_rules_for_containers_are_there_but_those_of_resolvers():
    wanted = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["rule_files"]
    rules = FOLDER.parents[1] / "rules" / "prometheus"
    # As Prometheus, whose ^ in brackets is glob's !
    found = {path.name for each in wanted for path in rules.glob(Path(each).name.replace("[^", "[!"))}
    assert found == {path.name for path in rules.glob("dnsvigil-*.yml") if "-resolver-" not in path.name}


def test_the_collector_takes_the_configurations(tmp_path, capsys):
    in_kubernetes = tmp_path / "dnsvigil.yml"
    documents = list(yaml.safe_load_all((FOLDER / "kubernetes.yml").read_text()))
    in_kubernetes.write_text(documents[0]["data"]["dnsvigil.yml"])
    for path in (in_kubernetes, FOLDER / "dnsvigil.yml"):
        assert main(["--config", str(path), "check-config"]) == 0, capsys.readouterr()


def test_kubernetes_names_agree():
    _, service, workload = yaml.safe_load_all((FOLDER / "kubernetes.yml").read_text())
    pod = workload["spec"]["template"]
    assert service["spec"]["selector"] == workload["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    volumes = {each["name"] for each in pod["spec"]["volumes"]}
    volumes |= {each["metadata"]["name"] for each in workload["spec"]["volumeClaimTemplates"]}
    assert {each["name"] for each in pod["spec"]["containers"][0]["volumeMounts"]} == volumes
