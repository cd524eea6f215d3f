"""A Ray of two nodes on this machine, in processes that end with this one.

`python tests/ray_cluster.py` prints its address; a line on stdin removes the second node, the end of stdin ends it all.
"""

from __future__ import annotations

import os
import sys

CORES = 2
"""Of each node, whatever the machine has."""


def main() -> None:
    """Keep the cluster as long as somebody wants it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    about = {"num_cpus": CORES, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=about)
    second = cluster.add_node(**{key: about[key] for key in ("num_cpus", "num_gpus", "object_store_memory")})
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    if sys.stdin.readline():
        # As when a machine is switched off.
        cluster.remove_node(second, allow_graceful=False)
        sys.stdout.write("removed\n")
        sys.stdout.flush()
        sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
