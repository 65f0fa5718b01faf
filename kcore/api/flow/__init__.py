"""API Priority and Fairness: who waits for whom when there is more to do than can be done.

    request -> FlowSchema (the first that matches, by precedence)     kcore.api.flow.schemas
            -> priority level, flow (user or namespace) -> queue      kcore.api.flow.levels
            -> its turn                                               kcore.api.flow.control

Kubernetes' model is kept: levels with nominal, lendable and borrowed seats, shuffle-sharded queues, fair queuing by
virtual time, refusal with 429 when the queues are full. One thing is of our own. This server is one event loop,
where hundreds of connections may become readable at once and each request keeps the loop to itself while it is worked
on; no limit of seats sees that. So there is a *turnstile* as well: in one round of the loop only a few requests may
start, the others wait in their queues, and whoever comes meanwhile takes part in the next choice. That is what keeps a
flood from one client away from the others, and while there is no crowd nobody notices it.
"""
