"""What is submitted to Vertex AI and Kubernetes: what stands in it, and that it fits the published schemas."""

import json

import kubernetes_validate
import pytest
from launch_toys import KUBERNETES, VERTEX, launch

from launch.jobs import Job
from launch.kubernetes_jobs import manifests
from launch.tpus import parse_slice
from launch.vertex import custom_job

SWEEP = ("--seeds=0,1", "--sweep=online/optimizers.adamw.learning_rate=[1e-4, 3e-4]", "--gin.STEPS=7", "--dry_run")


def check_kubernetes(item: dict) -> None:
    """Checks an object against Kubernetes' OpenAPI schema; unknown fields are errors."""
    kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


def test_the_check_of_kubernetes_objects_finds_mistakes(capsys):
    _, out, _ = launch(capsys, *KUBERNETES, "--dry_run")
    job = json.loads(out)["items"][-1]
    check_kubernetes(job)
    for spoil in (
        lambda spec: spec.update(completionmode="Indexed"),
        lambda spec: spec.update(completions="4"),
        lambda spec: spec["podFailurePolicy"]["rules"][0].pop("action"),
        lambda spec: spec["template"]["spec"]["containers"][0].update(resource={}),
    ):
        bad = json.loads(json.dumps(job))
        spoil(bad["spec"])
        with pytest.raises(kubernetes_validate.ValidationError):
            check_kubernetes(bad)


def test_kubernetes_several_hosts(capsys):
    code, out, _ = launch(capsys, *KUBERNETES, *SWEEP)
    items = json.loads(out)["items"]
    assert code == 0 and [item["kind"] for item in items] == ["Service", "Job"] * 4
    for item in items:
        check_kubernetes(item)
    names = [item["metadata"]["name"] for item in items[1::2]]
    assert names == [f"pocket-math-online-{i}" for i in range(4)]
    service, job = items[2], items[3]
    assert service["metadata"]["name"] == "pocket-math-online-1" and service["spec"]["clusterIP"] == "None"
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert service["spec"]["selector"] == job["spec"]["template"]["metadata"]["labels"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    assert pod["subdomain"] == service["metadata"]["name"] and pod["restartPolicy"] == "Never"
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == container["resources"]["requests"] == {"google.com/tpu": "4"}
    assert container["command"] == ["sml-jax", "train"]
    assert container["args"][1:] == [
        "--workdir=/data/runs/seed=0,learning_rate=3e-4",
        "--gin.STEPS=7",
        "--gin.SEED=0",
        "--gin.online/optimizers.adamw.learning_rate=3e-4",
        "--coordinator_address=pocket-math-online-1-0.pocket-math-online-1.research.svc:8476",
        "--num_processes=4",
        "--process_id=$(PROCESS_ID)",
    ]
    (index,) = container["env"]
    assert index["name"] == "PROCESS_ID"
    assert "job-completion-index" in index["valueFrom"]["fieldRef"]["fieldPath"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "runs"


def test_kubernetes_failures(capsys):
    """2 ends the job; 75, 76 and a lost node cost nothing; the rest is counted."""
    _, out, _ = launch(capsys, *KUBERNETES, "--spot", "--dry_run")
    job = json.loads(out)["items"][-1]
    rules = job["spec"]["podFailurePolicy"]["rules"]
    codes = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    assert codes == {"FailJob": [2], "Ignore": [75, 76]} and job["spec"]["backoffLimit"] == 3
    assert rules[-1]["action"] == "Ignore" and rules[-1]["onPodConditions"][0]["type"] == "DisruptionTarget"
    pod = job["spec"]["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    check_kubernetes(job)


def test_kubernetes_one_host_needs_no_service_and_no_coordinator():
    job = Job("", "one", "/data/run", ("--gin.X=$(HOME)",))
    (made,) = manifests(job, parse_slice("v5e:2x4"), "image", "ns", "claim", spot=False)
    check_kubernetes(made)
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"google.com/tpu": "8"}
    assert container["args"] == ["--gin.X=$$(HOME)"] and "env" not in container


def test_vertex(capsys):
    code, out, _ = launch(capsys, *VERTEX, *SWEEP, "--spot", "--max_hours=12", "--service_account=a@b.example")
    bodies = json.loads(out)
    assert code == 0 and len(bodies) == 4
    body = bodies[2]
    assert body["displayName"] == "pocket-math-online-2"
    spec = body["jobSpec"]
    (pool,) = spec["workerPoolSpecs"]
    assert pool["machineSpec"] == {"machineType": "ct5lp-hightpu-4t", "tpuTopology": "2x2"}
    assert pool["replicaCount"] == "1"
    assert pool["containerSpec"]["command"] == ["launch/retry.sh", "sml-jax", "train"]
    assert pool["containerSpec"]["args"][1:] == [
        "--workdir=/gcs/bucket/runs/seed=1,learning_rate=1e-4",
        "--gin.STEPS=7",
        "--gin.SEED=1",
        "--gin.online/optimizers.adamw.learning_rate=1e-4",
    ]
    assert spec["scheduling"] == {"timeout": "43200s", "restartJobOnWorkerRestart": True, "strategy": "SPOT"}
    assert spec["serviceAccount"] == "a@b.example"
    assert spec["baseOutputDirectory"] == {"outputUriPrefix": "gs://bucket/staging/pocket-math-online-2"}


def test_vertex_jobs_are_messages_of_the_api():
    """Parsed by the API's own types, in which an unknown field or value is an error, and written back the same."""
    pytest.importorskip("google.cloud.aiplatform_v1", reason="needs the extra `launch`")
    from google.cloud.aiplatform_v1 import CustomJob
    from google.protobuf import json_format

    job = Job("", "one", "/gcs/b/run", ("--gin_file=a.gin",))
    body = custom_job(job, parse_slice("v6e:1x1"), "image", "gs://b", 1.5, spot=False, service_account="a@b.example")
    message = CustomJob.pb(CustomJob())
    json_format.ParseDict(body, message)
    assert json_format.MessageToDict(message) == body
    body["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]["tpuTopologie"] = "1x1"
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict(body, CustomJob.pb(CustomJob()))


def test_kubernetes_objects_are_those_of_the_client():
    """Read into the Python client's models and written back, nothing is lost."""
    client = pytest.importorskip("kubernetes.client", reason="needs the extra `launch`")
    api = client.ApiClient()
    job = Job("", "one", "/data/run", ("--gin_file=a.gin",))
    for item in manifests(job, parse_slice("v6e:4x4"), "image", "ns", "claim", spot=True):
        model = api.deserialize(json.dumps(item), f"V1{item['kind']}", "application/json")
        assert api.sanitize_for_serialization(model) == item


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v5e:1x1", (1, 1, "ct5lp-hightpu-1t")),
        ("v5e:2x4", (1, 8, "ct5lp-hightpu-8t")),
        ("v5e:4x4", (4, 4, "ct5lp-hightpu-4t")),
        ("v5e:16x16", (64, 4, "ct5lp-hightpu-4t")),
        ("v5p:2x2x1", (1, 4, "ct5p-hightpu-4t")),
        ("v4:2x2x4", (4, 4, "ct4p-hightpu-4t")),
        ("v6e:2x2", (1, 4, "ct6e-standard-4t")),
    ],
)
def test_slices(text, expected):
    tpu = parse_slice(text)
    assert (tpu.hosts, tpu.chips, tpu.machine) == expected
