"""Kubernetes: an indexed Job for each run, with one pod for each TPU host, and its submission.

XManager's own Kubernetes executor sets no TPU resources, volumes or completion index and never restarts a pod
(`backoffLimit: 0`), so the manifests are written here and XManager only records them. A plain Job is enough for several
hosts, without the JobSet add-on: a process that loses a peer ends by itself (76), so every pod comes back.
"""

from collections.abc import Callable
from typing import Any

from launch.jobs import Job
from launch.tpus import Slice
from sml_jax.common.errors import EXIT_PEER_LOST, EXIT_STOPPED, EXIT_USER_ERROR, UserError

PORT = 8476  # of the first pod, where the processes of a run meet
CRASHES = 3  # pods that may fail otherwise than by 2, 75 and 76 before the job is given up
GRACE_SECONDS = 120  # from SIGTERM to SIGKILL; a Spot machine gives 25 at most
_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def manifests(job: Job, tpu: Slice, image: str, namespace: str, volume_claim: str, spot: bool) -> list[dict[str, Any]]:
    """The objects of one run, as `kubectl apply` takes them.

    Args:
      job: what to run.
      tpu: the slice; each of its hosts gets a pod.
      image: made from launch/Dockerfile.
      namespace: where the objects live.
      volume_claim: a PersistentVolumeClaim that every pod may write, seen at /data.
      spot: whether to take Spot machines.

    Returns:
      A Job, and before it, where there are several hosts, the Service by which the pods find each other.
    """
    labels = {"app": "sml-jax", "sml-jax/run": job.label}
    meta = {"name": job.label, "namespace": namespace, "labels": labels}
    several_hosts = tpu.hosts > 1
    selector = {
        "cloud.google.com/gke-tpu-accelerator": tpu.accelerator,
        "cloud.google.com/gke-tpu-topology": tpu.topology,
        **({"cloud.google.com/gke-spot": "true"} if spot else {}),
    }
    chips = {"google.com/tpu": str(tpu.chips)}
    container: dict[str, Any] = {
        "name": "train",
        "image": image,
        "command": ["sml-jax", "train"],
        # Kubernetes would put variables in the place of $(NAME); $$ stands for $.
        "args": [
            *(text.replace("$(", "$$(") for text in job.arguments),
            *(_joining_flags(job.label, namespace, tpu.hosts) if several_hosts else []),
        ],
        "resources": {"requests": chips, "limits": chips},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    if several_hosts:
        container["env"] = [{"name": "PROCESS_ID", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}}]
        # 8471 is libtpu's own.
        container["ports"] = [{"containerPort": 8471}, {"containerPort": PORT}]
    pod: dict[str, Any] = {
        "restartPolicy": "Never",  # the failure policy below needs it; the Job makes new pods
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "nodeSelector": selector,
        "tolerations": [
            {"key": key, "operator": "Exists", "effect": "NoSchedule"}
            for key in ("google.com/tpu", *(["cloud.google.com/gke-spot"] if spot else []))
        ],
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": volume_claim}}],
    }
    if several_hosts:
        pod["subdomain"] = job.label
    spec = {
        "completionMode": "Indexed",
        "completions": tpu.hosts,
        "parallelism": tpu.hosts,
        "backoffLimit": CRASHES,
        "podFailurePolicy": {"rules": _rules()},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    objects: list[dict[str, Any]] = [{"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}]
    if several_hosts:
        # Names must resolve while the first pod is still starting.
        service = {"clusterIP": "None", "selector": labels, "publishNotReadyAddresses": True}
        objects.insert(0, {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service})
    return objects


def submit(objects: list[dict[str, Any]], context: str | None = None) -> None:
    """Creates the objects of one run in the cluster of the kubeconfig, or of the pod that this runs in.

    Args:
      objects: of `manifests`.
      context: of the kubeconfig; the current one if None.

    Raises:
      UserError: no cluster is configured, or what the API answered.
    """
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    try:
        if context:
            config.load_kube_config(context=context)
        else:
            config.load_config()  # a kubeconfig, else the pod's own account
    except config.ConfigException as error:
        raise UserError(f"no Kubernetes cluster is configured: {' '.join(str(error).split())}") from error
    calls: dict[str, Callable[..., Any]] = {
        "Service": client.CoreV1Api().create_namespaced_service,
        "Job": client.BatchV1Api().create_namespaced_job,
    }
    for item in objects:
        name, kind = item["metadata"]["name"], item["kind"]
        try:
            calls[kind](namespace=item["metadata"]["namespace"], body=item)
        except client.ApiException as error:
            # 409: an object of that name exists. A Service may stay from an earlier run of the same name.
            if error.status != 409:
                raise UserError(f"Kubernetes refused the {kind} {name}: {error.status} {error.reason}") from error
            if kind == "Job":
                raise UserError(
                    f"the Job {name} is there already: kubectl delete job {name}, or give another --name"
                ) from error
        except HTTPError as error:
            raise UserError(f"no answer from the Kubernetes cluster: {' '.join(str(error).split())}") from error


def _rules() -> list[dict[str, Any]]:
    """The failure policy, of which the first rule that fits counts.

    A user's error fails the Job at once. A run that was stopped, lost a peer or lost its machine starts again, and does
    not count as a crash.
    """

    def codes(action: str, *values: int) -> dict[str, Any]:
        return {
            "action": action,
            "onExitCodes": {"containerName": "train", "operator": "In", "values": sorted(values)},
        }

    return [
        codes("FailJob", EXIT_USER_ERROR),
        codes("Ignore", EXIT_STOPPED, EXIT_PEER_LOST),
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]


def _joining_flags(name: str, namespace: str, hosts: int) -> list[str]:
    """The flags by which the pods of one run join: they meet at the first pod, under the Service's name."""
    return [
        f"--coordinator_address={name}-0.{name}.{namespace}.svc:{PORT}",
        f"--num_processes={hosts}",
        "--process_id=$(PROCESS_ID)",
    ]
