"""The Common Expression Language, as Kubernetes' API server evaluates it.

An `Environment` declares variables and compiles expressions into `Program`s; a program runs on plain JSON values
within a `Budget`. The error texts are cel-go's, the functions those of Kubernetes' CEL libraries, and costs are
counted and estimated as upstream counts and estimates them, because limits on cost decide which expressions an API
server accepts.

    env = Environment({"self": object_type("Scale", {"replicas": INT})})
    program = env.compile("self.replicas <= 10", result=(BOOL,))
    program.run({"self": {"replicas": 3}}, budget=Budget(1_000_000))

Nothing here knows the API: how a schema becomes a type is `kcore.api.expressions`.
"""

from __future__ import annotations

from kcore.cel.environment import Budget, Environment, Program, ResultError
from kcore.cel.errors import BudgetExceeded, CompileError, EvaluationError

__all__ = ["Budget", "BudgetExceeded", "CompileError", "Environment", "EvaluationError", "Program", "ResultError"]
