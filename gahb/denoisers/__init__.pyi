from . import bandlet as bandlet
from . import baselines as baselines
from . import closed_form as closed_form
from . import local as local
from . import networks as networks
from . import optimal_calpha as optimal_calpha
from . import optimal_disks as optimal_disks
from . import shrinkage as shrinkage
