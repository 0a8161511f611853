"""Gradient-based architecture search with a latency budget, as in ProxylessNAS (arXiv:1812.00332).

Every gene has a softmax over its choices, and the loss is

    -E[top-1 in percent] + PRICE * relu(E[latency] / BUDGET_MS - 1)

The gradient of the expected latency is exact, by backpropagation. That of the accuracy is estimated
from sampled networks (REINFORCE, section 3.3.2 there), so that anything can tell the accuracy: here
Once-For-All's predictor, in your search a supernet on a batch of data.

Needs PyTorch: pip install 'latcast[torch]'
"""

import numpy as np
import torch

import latcast
from latcast.search import ExpectedLatency, accuracy_model

BUDGET_MS = 20.0
PRICE = 20.0
STEPS = 200
NETWORKS = 128

space = latcast.space("ofa-mobilenet-v3")
predictor = latcast.load("samsung-note10")
accuracy = accuracy_model("ofa-mobilenet-v3")
expected_latency = ExpectedLatency(predictor)
choices = [np.array(values, dtype=np.uint8) for values in expected_latency.choices.values()]
logits = [torch.zeros(len(values), requires_grad=True) for values in choices]


def draw(n: int) -> tuple[latcast.Archs, torch.Tensor]:
    """Networks from the current probabilities, and the logarithm of how likely each is, (n,)."""
    picks = [torch.multinomial(x.detach().softmax(-1), n, replacement=True) for x in logits]
    log_likely = [x.log_softmax(-1)[pick] for x, pick in zip(logits, picks, strict=True)]
    columns = [values[pick.numpy()] for values, pick in zip(choices, picks, strict=True)]
    return latcast.Archs(space, np.stack(columns, axis=1)), torch.stack(log_likely).sum(0)


torch.set_num_threads(1)  # tensors this small gain nothing from a second one
torch.manual_seed(0)
optimizer = torch.optim.Adam(logits, lr=0.1)
for step in range(STEPS):
    archs, log_likely = draw(NETWORKS)
    top1 = torch.from_numpy(100 * accuracy.predict(archs)).float()
    advantage = top1 - top1.mean()
    latency_ms = expected_latency([values.softmax(-1) for values in logits])
    over = torch.relu(latency_ms / BUDGET_MS - 1)
    loss = -(advantage * log_likely).mean() + PRICE * over
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0 or step == STEPS - 1:
        print(f"step {step}: expected {latency_ms:.2f} ms, mean top-1 {top1.mean():.2f} %")

# What is left of the choice is made by drawing networks and keeping the best within the budget.
archs, _ = draw(2_000)
archs = archs[predictor.predict(archs) <= BUDGET_MS]
best = archs[int(np.argmax(accuracy.predict(archs)))]
print(best.to_dicts()[0])
print(f"top-1 {100 * accuracy.predict(best)[0]:.2f} % in {predictor.predict(best)[0]:.2f} ms")
