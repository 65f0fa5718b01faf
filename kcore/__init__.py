"""kcore: the Kubernetes that you can import.

This is what a plugin author imports: `hookimpl` to mark hooks, `Provider` to offer an implementation, `lazily` to have
it imported when it is used, `Context` for what it is given when it opens. The contracts stand in their rooms:
`kcore.store.Store`, `kcore.runtime.Runtime`, `kcore.proxy.Proxy`, `kcore.scheduler.policy.Policy`,
`kcore.controller.Controller`.
"""

from kcore.hookspecs import hookimpl
from kcore.registry import Context, NoConfig, Provider, lazily

__all__ = ["Context", "NoConfig", "Provider", "__version__", "hookimpl", "lazily"]
__version__ = "0.1.0"
