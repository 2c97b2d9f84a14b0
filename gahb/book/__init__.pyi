from . import chapters as chapters
from . import dependencies as dependencies
from . import ledger as ledger
from . import page as page
from . import prose as prose
from . import recording as recording
from . import running as running
