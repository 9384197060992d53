"""The scenarios of ../README.md, by Azure's own clients for Python: scenario.py NOUN MODE."""

import keyword
import os
import sys
from functools import partial

from certificate_steps import CertificateSteps
from key_steps import KeySteps
from secret_steps import SecretSteps
from vault import connect

NOUNS = {"secrets": SecretSteps, "keys": KeySteps, "certificates": CertificateSteps}


def find(steps, step):
    """A step is a method, or an algorithm by its own name."""
    algorithm = getattr(steps, "algorithms", {}).get(step)
    if algorithm:
        return partial(algorithm, steps)
    return getattr(steps, step + "_" if keyword.iskeyword(step) else step.replace("-", "_"))


def main(noun, mode):
    steps = NOUNS[noun](connect(mode), mode)
    for step in os.environ["STEPS"].split():
        try:
            find(steps, step)()
        except Exception as e:  # whatever it is, it is the step's failure
            sys.exit(f"FAIL {step}: {type(e).__name__}: {e}")
        print("ok", step, flush=True)


main(*sys.argv[1:])
