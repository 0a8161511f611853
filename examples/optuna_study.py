"""The accuracy/latency front within a budget, by an Optuna study.

Needs Optuna: pip install 'latcast[tune]'
"""

import optuna

from latcast.search import optuna_objective

optuna.logging.set_verbosity(optuna.logging.WARNING)
objective = optuna_objective(
    "compofa-elastic-kernel", latency="samsung-note10", max_latency_ms=20, max_macs=4e8
)
study = optuna.create_study(
    directions=objective.directions, sampler=optuna.samplers.NSGAIISampler(seed=0)
)
study.optimize(objective, n_trials=500)

front = sorted(study.best_trials, key=lambda trial: trial.values[1])
for trial in front:
    print(f"trial {trial.number}: top-1 {trial.values[0]:.4f} in {trial.values[1]:.2f} ms")
print(objective.archs(front[-1:]).to_dicts()[0])
