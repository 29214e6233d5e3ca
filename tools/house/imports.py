"""Imports every module of spar_kit, each package in one process, and says what fails: `python tools/house/imports.py`."""
import importlib
import pkgutil
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
warnings.simplefilter("error", DeprecationWarning)                 # an old path, used by ourselves
warnings.filterwarnings("ignore", category=DeprecationWarning, message="(?!spar_kit)")

import spar_kit

failed = found = 0
for module in pkgutil.walk_packages(spar_kit.__path__, "spar_kit."):
    found += 1
    try:
        importlib.import_module(module.name)
    except Exception as error:  # whatever it is, it is listed
        failed += 1
        print(f"{module.name}: {type(error).__name__}: {error}")
print(f"{found - failed} of {found} modules and packages can be imported")
sys.exit(failed > 0)
