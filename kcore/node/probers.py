"""How a probe or hook asks a container: httpGet, tcpSocket, grpc, exec.

Everything but exec goes through `NodeRuntime.dial`, to the port inside the pod's sandbox, over real sockets where the
runtime has them. The answers' texts are upstream's, since users read them in events.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import trio

from kcore.node.ports import number
from kcore.node.run import Run
from kcore.objects import Object
from kcore.runtime import CommandTimeout, PortRefused, RuntimeFailure

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker

BODY_MOST = 10 * 1024  # bytes of an HTTP answer that are read
AGENT = "kube-probe/1.37"


@attrs.frozen
class Outcome:
    ok: bool
    text: str = ""


async def ask(worker: PodWorker, run: Run, action: Object, timeout: float) -> Outcome:
    """Ask as `action` (a probe or a lifecycle handler) says. May raise RuntimeFailure."""
    if "exec" in action:
        return await _exec(worker, run, action["exec"].get("command") or [], timeout)
    try:
        with trio.fail_after(timeout):
            if "httpGet" in action:
                return await _http(worker, run, action["httpGet"])
            if "tcpSocket" in action:
                return await _tcp(worker, run, action["tcpSocket"])
            if "grpc" in action:
                return await _grpc(worker, run, action["grpc"])
    except trio.TooSlowError:
        return Outcome(False, _late(worker, run, action, timeout))
    return Outcome(False, "missing probe handler")


async def _exec(worker: PodWorker, run: Run, command: list[str], timeout: float) -> Outcome:
    assert run.current is not None
    try:
        result = await worker.agent.runtime.exec_sync(run.current.id, command, timeout)
    except CommandTimeout:
        return Outcome(False, f'command "{" ".join(command)}" timed out')
    text = (result.stdout + result.stderr).decode(errors="replace")
    return Outcome(result.exit_code == 0, text)  # a probe's event says what the command said


async def _dial(worker: PodWorker, host: str, port: int) -> trio.abc.Stream:
    if host:
        return await trio.open_tcp_stream(host, port)
    if worker.sandbox is None:
        raise PortRefused("no sandbox")
    return await worker.agent.runtime.dial(worker.sandbox.id, port)


def _target(worker: PodWorker, host: str) -> str:
    return host or (worker.ips[0] if worker.ips else worker.host_ip)


async def _tcp(worker: PodWorker, run: Run, action: Object) -> Outcome:
    port, host = number(action["port"], run.spec.get("ports") or []), action.get("host", "")
    try:
        stream = await _dial(worker, host, port)
    except (OSError, RuntimeFailure):
        return Outcome(False, f"dial tcp {_target(worker, host)}:{port}: connect: connection refused")
    await trio.aclose_forcefully(stream)
    return Outcome(True)


# --- HTTP ------------------------------------------------------------------------------------------------------------


async def _http(worker: PodWorker, run: Run, action: Object) -> Outcome:
    port, host = number(action["port"], run.spec.get("ports") or []), action.get("host", "")
    scheme = action.get("scheme", "HTTP").lower()
    headers = {h["name"].lower(): h["value"] for h in action.get("httpHeaders") or ()}
    path = action.get("path") or "/"
    if not path.startswith("/"):
        path = "/" + path
    url = f"{scheme}://{_target(worker, host)}:{port}{path}"
    try:
        stream = await _dial(worker, host, port)
    except (OSError, RuntimeFailure):
        refused = f"dial tcp {_target(worker, host)}:{port}: connect: connection refused"
        return Outcome(False, f'Get "{url}": {refused}')
    defaults = {"host": f"{_target(worker, host)}:{port}", "user-agent": AGENT, "accept": "*/*", "connection": "close"}
    lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in (defaults | headers).items()), "", ""]
    try:
        if scheme == "https":
            stream = trio.SSLStream(stream, _unverified(), https_compatible=True)
        status = await _status(stream, "\r\n".join(lines).encode())
    except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError) as error:
        return Outcome(False, f'Get "{url}": {error or "EOF"}')
    finally:
        with contextlib.suppress(OSError):
            await trio.aclose_forcefully(stream)
    if 200 <= status < 400:
        return Outcome(True)
    return Outcome(False, f"HTTP probe failed with statuscode: {status}")


async def _status(stream: trio.abc.Stream, request: bytes) -> int:
    """The status code of the answer. Raises EOFError."""
    await stream.send_all(request)
    got = b""
    while b"\r\n" not in got:
        data = await stream.receive_some(4096)
        if not data or len(got) > BODY_MOST:
            raise EOFError("EOF")
        got += bytes(data)
    version, _, rest = got.split(b"\r\n", 1)[0].partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise EOFError(f"malformed HTTP response {got[:40]!r}")
    return int(rest[:3])


def _unverified() -> Any:
    """A probe does not ask who answers, only whether somebody does (upstream skips verification too)."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _late(worker: PodWorker, run: Run, action: Object, timeout: float) -> str:
    if "httpGet" in action:
        get = action["httpGet"]
        port = number(get["port"], run.spec.get("ports") or [])
        host = _target(worker, get.get("host", ""))
        url = f"{get.get('scheme', 'HTTP').lower()}://{host}:{port}{get.get('path') or '/'}"
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    if "grpc" in action:
        return f"timeout: failed to connect service within {timeout:g}s: context deadline exceeded"
    port = number(action["tcpSocket"]["port"], run.spec.get("ports") or [])
    return f"dial tcp {_target(worker, action['tcpSocket'].get('host', ''))}:{port}: i/o timeout"


# --- gRPC ------------------------------------------------------------------------------------------------------------


async def _grpc(worker: PodWorker, run: Run, action: Object) -> Outcome:
    from kcore.node.grpchealth import check

    port, service = int(action["port"]), action.get("service") or ""
    address = f"{_target(worker, '')}:{port}"
    try:
        stream = await _dial(worker, "", port)
    except (OSError, RuntimeFailure):
        refused = f"dial tcp {address}: connect: connection refused"
        text = f'connection error: desc = "transport: Error while dialing: {refused}"'
        return Outcome(False, f"error: health rpc failed: rpc error: code = Unavailable desc = {text}")
    try:
        serving, text = await check(stream, address, service)
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        return Outcome(False, f"error: health rpc failed: {error}")
    finally:
        await trio.aclose_forcefully(stream)
    return Outcome(serving, text)
