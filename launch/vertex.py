"""Vertex AI: a CustomJob on one TPU host, and its submission.

XManager's own Vertex executor knows TPU v2 and v3 only and has no place for a topology or for scheduling, so the
job is written here, as the v1 API has it, and XManager only records it.
"""

from typing import Any

from launch.jobs import Job
from launch.tpus import Slice
from sml_jax.common.errors import UserError


def custom_job(
    job: Job, tpu: Slice, image: str, staging_bucket: str, max_hours: float, spot: bool, service_account: str | None
) -> dict[str, Any]:
    """The body of `projects.locations.customJobs.create`.

    Vertex AI takes any exit code but 0 for a failure of the job, so `retry.sh` runs the program inside. Where the
    machine itself is lost, Vertex AI restarts the job, and the run goes on from its folder.

    Args:
      job: what to run.
      tpu: a slice of one host.
      image: made from launch/Dockerfile.
      staging_bucket: `gs://...` for what Vertex AI writes itself.
      max_hours: after these the job is cancelled.
      spot: whether to take Spot machines.
      service_account: the job's; the project's own if None.

    Returns:
      A CustomJob in JSON form, with the API's own names.

    Raises:
      UserError: the slice has several hosts, or `staging_bucket` is not a bucket.
    """
    if tpu.hosts > 1:
        raise UserError(
            f"--topology={tpu.generation}:{tpu.topology} has {tpu.hosts} hosts, and Vertex AI is given one here: "
            "use --executor=kubernetes or launch/tpu_vm.sh"
        )
    if not staging_bucket.startswith("gs://"):
        raise UserError(f"--staging_bucket={staging_bucket}: write gs://BUCKET or gs://BUCKET/FOLDER")
    spec: dict[str, Any] = {
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": tpu.machine, "tpuTopology": tpu.topology},
                "replicaCount": "1",  # int64: a string in JSON
                "containerSpec": {
                    "imageUri": image,
                    "command": ["launch/retry.sh", "sml-jax", "train"],
                    "args": list(job.arguments),
                },
            }
        ],
        "scheduling": {
            "timeout": f"{round(max_hours * 3600)}s",
            "restartJobOnWorkerRestart": True,
            "strategy": "SPOT" if spot else "STANDARD",
        },
        "baseOutputDirectory": {"outputUriPrefix": f"{staging_bucket.rstrip('/')}/{job.label}"},
    }
    if service_account:
        spec["serviceAccount"] = service_account
    return {"displayName": job.label, "jobSpec": spec, "labels": {"program": "sml-jax"}}


def submit(body: dict[str, Any], project: str, region: str) -> str:
    """Creates the job on Vertex AI.

    Args:
      body: as `custom_job` returns it.
      project: the Google Cloud project.
      region: where the job runs.

    Returns:
      The job's resource name.

    Raises:
      UserError: there are no credentials, or the API refused; the text says why.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import aiplatform_v1
    from google.protobuf import json_format

    # The client takes a message, which is made from the JSON form that a dry run prints.
    job = aiplatform_v1.CustomJob()
    json_format.ParseDict(body, aiplatform_v1.CustomJob.pb(job))
    try:
        client = aiplatform_v1.JobServiceClient(client_options={"api_endpoint": f"{region}-aiplatform.googleapis.com"})
        created = client.create_custom_job(parent=f"projects/{project}/locations/{region}", custom_job=job)
    except (GoogleAuthError, GoogleAPICallError) as error:
        raise UserError(f"Vertex AI refused {body['displayName']}: {' '.join(str(error).split())}") from error
    return str(created.name)
