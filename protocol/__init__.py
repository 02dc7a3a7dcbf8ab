"""What meter, payer, server, contract and auditor must agree on: pure functions over bytes, no I/O, no clock."""
