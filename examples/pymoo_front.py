"""The accuracy/latency front of two devices at once, by pymoo's NSGA-III.

Needs pymoo: pip install 'latcast[pymoo]'
"""

import numpy as np
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize
from pymoo.util.ref_dirs import get_reference_directions

from latcast.search import as_pymoo_problem

problem = as_pymoo_problem(
    "ofa-mobilenet-v3",
    latency=["samsung-note10", "tesla-p40"],
    max_latency_ms=(25, 30),
    max_params=8e6,
)
algorithm = NSGA3(
    ref_dirs=get_reference_directions("das-dennis", 3, n_partitions=12),
    pop_size=100,
    sampling=IntegerRandomSampling(),
    crossover=SBX(vtype=float, repair=RoundingRepair()),
    mutation=PM(vtype=float, repair=RoundingRepair()),
)
result = minimize(problem, algorithm, ("n_eval", 5_000), seed=0)

order = np.argsort(result.F[:, 0])
print(f"{len(order)} networks; the most accurate:")
for objectives in result.F[order[:5]]:
    print(f"top-1 {-objectives[0]:.4f}, Note10 {objectives[1]:.2f} ms, P40 {objectives[2]:.2f} ms")
print(problem.archs(result.X[order[:1]]).to_dicts()[0])
