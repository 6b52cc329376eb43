"""Which variables of our environment a child process gets.

The rule for whoever edits it: a child reads what strangers send, so it gets what its libraries need
to run, by name, and nothing that could be a secret. `docs/operations.md` names them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

PASSED = (
    # the machine, and who we are on it
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ"),
    *("TMPDIR", "TEMP", "TMP", "XDG_*"),
    # Python, and how programs are loaded
    *("PYTHON*", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_*", "DYLD_*", "MALLOC_*", "COVERAGE_*"),
    # arithmetic on processors
    *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "BLIS_*", "NUMEXPR_*"),
    # graphics cards
    *("CUDA*", "CUDNN_*", "CUBLAS_*", "NVIDIA_*", "NCCL_*", "HIP_*", "HSA_*", "ROC*", "MIOPEN_*"),
    *("AMD_*", "ZE_*", "SYCL_*", "VK_*", "MESA_*"),
    # models, and the hubs that they come from
    *("TORCH*", "PYTORCH_*", "TRITON_*", "HF_*", "DIFFUSERS_*", "TRANSFORMERS_*", "ACCELERATE_*"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
# Whatever else the name says: HF_TOKEN is the key to an account.
KEPT_BACK = ("*TOKEN*", "*SECRET*", "*PASSWORD*", "*CREDENTIAL*", "*_KEY", "*_KEY_*", "*_KEYS")
# An address with a password in it, as a proxy's may be.
_PASSWORD = re.compile(r"://[^/\s]*@")


def surroundings(ours: Mapping[str, str]) -> dict[str, str]:
    """What of our environment a child gets."""
    return {name: value for name, value in ours.items() if _passes(name, value)}


def _passes(name: str, value: str) -> bool:
    if any(fnmatchcase(name, pattern) for pattern in KEPT_BACK) or _PASSWORD.search(value):
        return False
    return any(fnmatchcase(name, pattern) for pattern in PASSED)
