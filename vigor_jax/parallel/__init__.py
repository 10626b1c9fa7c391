"""Devices and hosts: the mesh, the mapped program, agreement of hosts, joining a cluster."""
