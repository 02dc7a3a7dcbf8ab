"""The demo: the real programs as separate processes, driven as an operator, a payer and an auditor would drive them."""
