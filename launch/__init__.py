"""Starting runs: on this machine, on Vertex AI, on Kubernetes, on TPU VMs, under Slurm. See docs/launch.md."""
