"""What gives pods their nodes (kube-scheduler): queue, cache, scheduling cycle, binding.

    pods, nodes --watch--> cache (node table) <--reads-- policies
                           queue --pop--> cycle: filter, score, choose --> binding --Client--> API

One pod is scheduled at a time, against columns that hold all nodes (`kcore.scheduler.table.NodeTable`), so a
decision is a few dozen vector operations whatever the number of nodes. What is decided is *assumed* in the table at
once and written by tasks that run meanwhile, so the next decision does not wait for the API.

`policy` is the contract of the seam; the policies of Kubernetes are in ``plugins/kcore_policies``.
"""

import os

# Vectors of a few thousand numbers: OpenBLAS's threads would only cost memory and start-up time. It reads this
# when numpy is first imported, which happens in the modules beside this one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
