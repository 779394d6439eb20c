"""The costs of circuits beside those of peers: the same network, pairs, edges and circuits in each peer's own environment.

python -m benchmarks setup plain transformer_lens eap_ig
python -m benchmarks.circuit_peers prepare
python -m benchmarks.circuit_peers run [--peers ours,eap_ig,tlens] [--works eap,circuits] [--rounds 3]
python -m benchmarks.circuit_peers show
"""
