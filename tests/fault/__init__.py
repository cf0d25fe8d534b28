"""The fault kit: a workload, an end that nobody asked for, a restart, and the checks of the durability contract."""
