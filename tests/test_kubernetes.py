"""docs/kubernetes.yaml has fields that KubeRay knows, of the types that it knows.

The fields are those of KubeRay's API types (ray-operator/apis/ray/v1 of KubeRay 1.6), from which
its CRDs are generated: RayCronJobSpec, RayJobSpec, RayClusterSpec, HeadGroupSpec, WorkerGroupSpec,
AutoscalerOptions; and of a Kubernetes pod what the file uses. Required fields end in ``!``.
"""

import re
from pathlib import Path

import yaml

from pipelines.cli.main import main

FILE = Path(__file__).parent.parent / "docs" / "kubernetes.yaml"

POD = {
    "serviceAccountName": str,
    "containers!": [
        {
            "name!": str,
            "image": str,
            "env": [
                {
                    "name!": str,
                    "value": str,
                    "valueFrom": {"secretKeyRef": {"name!": str, "key!": str}},
                }
            ],
            "resources": {"requests": dict, "limits": dict},
        }
    ],
}
RAY_CLUSTER = {
    "rayVersion": str,
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": {"idleTimeoutSeconds": int, "upscalingMode": str},
    "headGroupSpec!": {"serviceType": str, "rayStartParams!": dict, "template!": {"spec!": POD}},
    "workerGroupSpecs": [
        {
            "groupName!": str,
            "replicas": int,
            "minReplicas!": int,
            "maxReplicas!": int,
            "numOfHosts": int,
            "rayStartParams!": dict,
            "template!": {"spec!": POD},
        }
    ],
}
RAY_JOB = {
    "activeDeadlineSeconds": int,
    "backoffLimit": int,
    "rayClusterSpec": RAY_CLUSTER,
    "metadata": dict,
    "clusterSelector": dict,
    "entrypoint": str,
    "runtimeEnvYAML": str,
    "jobId": str,
    "submissionMode": str,
    "entrypointNumCpus": float,
    "ttlSecondsAfterFinished": int,
    "shutdownAfterJobFinishes": bool,
    "suspend": bool,
}
RAY_CRON_JOB = {
    "apiVersion!": str,
    "kind!": str,
    "metadata!": {"name!": str, "namespace": str},
    "spec!": {"jobTemplate!": RAY_JOB, "schedule!": str},
}


def wrong(content, wanted, where=""):
    """Each place where ``content`` is not as ``wanted`` says."""
    if isinstance(wanted, type):
        return [] if type(content) is wanted else [f"{where} is no {wanted.__name__}"]
    if isinstance(wanted, list):
        return [
            line
            for i, part in enumerate(content)
            for line in wrong(part, wanted[0], f"{where}[{i}]")
        ]
    known = {name.rstrip("!"): part for name, part in wanted.items()}
    missing = {name[:-1] for name in wanted if name.endswith("!")} - set(content)
    found = [f"{where}.{name} is missing" for name in missing]
    for name, part in content.items():
        found += (
            wrong(part, known[name], f"{where}.{name}") if name in known else [f"{where}.{name}?"]
        )
    return found


def manifest():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def test_every_field_is_known():
    assert wrong(manifest(), RAY_CRON_JOB) == []
    assert manifest()["apiVersion"] == "ray.io/v1" and manifest()["kind"] == "RayCronJob"
    assert manifest()["spec"]["jobTemplate"]["submissionMode"] in ("K8sJobMode", "HTTPMode")


def test_a_wrong_field_is_told():
    """The check itself: a misspelt, a missing and a mistyped field."""
    content = manifest()
    job = content["spec"]["jobTemplate"]
    job["entryPoint"] = job.pop("entrypoint")
    job["backoffLimit"] = "2"
    del job["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]
    assert wrong(content, RAY_CRON_JOB) == [
        ".spec.jobTemplate.backoffLimit is no int",
        ".spec.jobTemplate.rayClusterSpec.headGroupSpec.rayStartParams is missing",
        ".spec.jobTemplate.entryPoint?",
    ]


def test_its_environment_and_command_are_this_project_s(capsys):
    job = manifest()["spec"]["jobTemplate"]
    assert yaml.safe_load(job["runtimeEnvYAML"]) == {"working_dir": "/archive-tagger"}
    pinned = re.search(
        r"^ray==(.*)$", (FILE.parents[1] / "requirements.lock").read_text(), re.MULTILINE
    )
    assert job["rayClusterSpec"]["rayVersion"] == pinned[1]
    command = job["entrypoint"].split()
    assert command[:3] == ["python", "-m", "pipelines"]
    assert main([*command[3:], "--limit", "0"]) == 2
    assert "--limit" in capsys.readouterr().err
