"""kcore: the Kubernetes that you can import.

This is what a plugin author imports: `hookimpl` to mark hooks, `Provider` to offer an implementation, `Context` for
what it is given when it opens. The contracts stand in their rooms: `kcore.store.Store`, `kcore.runtime.Runtime`,
`kcore.proxy.Proxy`, `kcore.scheduler.policy.Policy`, `kcore.controller.Controller`.
"""

from kcore.hookspecs import hookimpl
from kcore.registry import Context, NoConfig, Provider

__all__ = ["Context", "NoConfig", "Provider", "__version__", "hookimpl"]
__version__ = "0.1.0"
