from . import conformance as conformance
from . import harmonics as harmonics
from . import kl as kl
from . import laws as laws
from . import memorization as memorization
from . import rates as rates
from . import risk as risk
from . import statistics as statistics
