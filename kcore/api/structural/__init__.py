"""Custom resources' schemas: from an ``openAPIV3Schema`` to what validates, defaults and prunes objects.

    compile     JSON Schema -> the tree of `kcore.api.schema` that everything shape-driven walks
    defaulting  missing values, and nulls that may not be
    objects     every error of an object: schema, sets and list-maps, embedded objects, CEL rules

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""
