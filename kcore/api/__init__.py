"""The API machinery: everything between an HTTP request and the store that knows no particular kind.

schema.py      what an object may look like: types, list types, merge keys
kinds.py       a kind's declaration, and the table of all declared kinds
auth.py        who is asking, and may they
admission.py   the seam between a decoded request and the store
fields.py      field errors with upstream's wording
validation.py  what an object may look like: typed decoding (typed.py, shapes.py), a custom resource's schema
               (rules.py), metadata (metadata.py)
names.py       rules for names, labels and values
codec/         JSON, YAML and Kubernetes protobuf, to and from plain objects
patch/         JSON Patch, merge patch, strategic merge patch, server-side apply
cache.py       the watch cache: one per kind, bytes encoded once
server.py      routes a request through authentication, authorization, decoding, admission and storage
"""
