"""Direct Preference Optimization, native to PyTorch Lightning.

Names are loaded when they are first asked for, from the modules that `__init__.pyi` gives: `import dpo_lightning` alone
loads neither torch nor Lightning, so that the command answers `--help` at once.
"""

import lazy_loader

from dpo_lightning.utils.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
