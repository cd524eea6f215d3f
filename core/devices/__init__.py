"""Devices: their names as settings, the hardware of this machine, the slots of a study, utilization and memory."""
