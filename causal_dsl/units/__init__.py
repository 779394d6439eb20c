"""The work of a spec cut into units that processes and machines share: trainings, groups of fits, blocks of sweeps."""

from causal_dsl.planning.work_units import WorkUnit as Unit
from causal_dsl.units.cutting import units_of
from causal_dsl.units.folder import DoneUnit, UnitFolder, unit_folder
from causal_dsl.units.worker import Worker

__all__ = ["DoneUnit", "Unit", "UnitFolder", "Worker", "unit_folder", "units_of"]
