"""Rules for names, labels and values: they stand in `kcore.objects.naming`, where expressions find them too."""

from __future__ import annotations

from kcore.objects.naming import (
    config_map_key,
    dns_1035_label,
    dns_label,
    dns_subdomain,
    label_value,
    path_segment,
    qualified_name,
)

__all__ = [
    "config_map_key",
    "dns_1035_label",
    "dns_label",
    "dns_subdomain",
    "label_value",
    "path_segment",
    "qualified_name",
]
