"""hpcharvest: harvests PanDA jobs on the edge node of an HPC centre."""

__version__ = "0.1.0"
