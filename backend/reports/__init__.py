"""What people and programs are shown, one module a noun. Reads only; every query names its operator, so nobody sees another's rows."""
