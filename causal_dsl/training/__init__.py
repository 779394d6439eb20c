"""Training a network towards a causal model: what ``network net = train(alignment, …)`` asks for."""
