"""An XManager executor for jobs whose descriptions we write. It needs XManager, so import it where it is used."""

from collections.abc import Callable
from typing import Any

import attr
from xmanager import xm
from xmanager.xm_local import executables, registry
from xmanager.xm_local.storage import database

from launch.backend import Submitted


@attr.s(auto_attribs=True)
class Described(xm.Executor):
    """Submits a job by a function and records it in XManager's database.

    Attributes:
      submit: submits the job; returns None where the cluster refused it.
      requirements: XManager asks for it; unused, since the description says what the job needs.
    """

    submit: Callable[[], Submitted | None]
    requirements: xm.JobRequirements = attr.Factory(xm.JobRequirements)

    Spec = xm.ExecutorSpec

    @classmethod
    async def launch(cls, local_experiment_unit: Any, job_group: xm.JobGroup) -> list[Any]:
        """Called by XManager for every work unit."""
        unit, records = local_experiment_unit, database.database()
        for job in xm.job_operators.flatten_jobs(job_group):
            done = job.executor.submit()
            if done is None:
                continue
            # XManager has one table for Vertex AI and one for Kubernetes, whose jobs have a namespace.
            if done.namespace is None:
                records.insert_vertex_job(unit.experiment_id, unit.work_unit_id, done.name)
            else:
                records.insert_kubernetes_job(unit.experiment_id, unit.work_unit_id, done.namespace, done.name)
        return []


def described_image(path: str) -> executables.GoogleContainerRegistryImage:
    """The executable that stands for a container image."""
    return executables.GoogleContainerRegistryImage(name="sml-jax", image_path=path)


# XManager refuses executors that it does not know.
registry.register(Described, launch=Described.launch)
