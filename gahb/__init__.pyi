# Every public name, and where it is defined: read by editors, and by `gahb/__init__.py`, which imports a name
# when it is first used.

from . import book as book
from . import contract as contract
from . import denoisers as denoisers
from . import figures as figures
from . import images as images
from . import jacobian as jacobian
from . import measure as measure
from . import sampling as sampling
from . import training as training
from . import transforms as transforms
from . import widgets as widgets
from . import zoo as zoo
from .book import claims as claims
from .contract import Denoiser as Denoiser
from .denoisers.bandlet import Bandlet as Bandlet
from .denoisers.baselines import (
    BayesShrink as BayesShrink,
)
from .denoisers.baselines import (
    NonLocalMeans as NonLocalMeans,
)
from .denoisers.closed_form import (
    Empirical as Empirical,
)
from .denoisers.closed_form import (
    Gaussian as Gaussian,
)
from .denoisers.closed_form import (
    GaussianMixture as GaussianMixture,
)
from .denoisers.networks import (
    BFCNN as BFCNN,
)
from .denoisers.networks import (
    PointNetwork as PointNetwork,
)
from .denoisers.networks import (
    UNet as UNet,
)
from .denoisers.optimal_calpha import OptimalCAlpha as OptimalCAlpha
from .denoisers.optimal_disks import OptimalDisks as OptimalDisks
from .denoisers.shrinkage import (
    Wavelet as Wavelet,
)
from .denoisers.shrinkage import (
    Wiener as Wiener,
)
from .jacobian.basis import (
    AdaptiveBasis as AdaptiveBasis,
)
from .jacobian.basis import (
    adaptive_basis as adaptive_basis,
)
from .jacobian.filters import adaptive_filters as adaptive_filters
from .jacobian.traces import (
    effective_dimension as effective_dimension,
)
from .jacobian.traces import (
    trace_estimate as trace_estimate,
)
from .measure import (
    harmonics as harmonics,
)
from .measure import (
    kl as kl,
)
from .measure import (
    memorization as memorization,
)
from .measure import (
    rates as rates,
)
from .measure import (
    risk as risk,
)
from .measure import (
    statistics as statistics,
)
from .measure.conformance import check_denoiser as check_denoiser
from .measure.kl import kl_bound as kl_bound
from .measure.memorization import (
    nearest as nearest,
)
from .measure.memorization import (
    twin_similarity as twin_similarity,
)
from .measure.risk import (
    psnr_curve as psnr_curve,
)
from .measure.risk import (
    score as score,
)
from .measure.risk import (
    sure as sure,
)
from .measure.statistics import (
    crossing as crossing,
)
from .measure.statistics import (
    ratio_of_means as ratio_of_means,
)
from .sampling import sample as sample
from .training import fit as fit

__version__: str
from .zoo import recipes as recipes
