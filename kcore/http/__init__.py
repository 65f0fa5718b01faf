"""HTTP/1.1 and WebSocket on trio, for every server in the cluster: API, kubelet, metrics, fake pods.

`kcore.http.messages` is the vocabulary (a handler takes a `Request` and returns a `Response`),
`kcore.http.server` serves handlers on trio streams, `kcore.http.websocket` speaks WebSocket over an
upgraded connection.
"""
